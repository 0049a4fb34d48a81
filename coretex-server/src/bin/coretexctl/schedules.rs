//! `coretexctl schedules`: workflows started by the clock.

use std::path::PathBuf;

use clap::Subcommand;
use coretex_server::client::{Client, Sent};
use serde_json::{Value, json};

use crate::{
    call::{in_file, items, part, read_file, show},
    print::{Table, text},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Schedules {
    /// Store a schedule, YAML or JSON; `-` reads it from the standard input.
    Put {
        /// The file.
        file: PathBuf,
    },
    /// List schedules with their next times.
    List,
    /// Show a schedule with its last times.
    Get {
        /// The schedule.
        id: String,
    },
    /// Let no time come until it is resumed.
    Pause {
        /// The schedule.
        id: String,
        /// Why.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Let times come again, from now on.
    Resume {
        /// The schedule.
        id: String,
    },
    /// Start a run now and print its id.
    Trigger {
        /// The schedule.
        id: String,
        /// What it does about a run that is under way: skip, queue, queue_all, cancel_running or allow.
        #[arg(long)]
        overlap: Option<String>,
    },
    /// Make up for past times that started no run.
    Backfill {
        /// The schedule.
        id: String,
        /// The first instant, RFC 3339.
        #[arg(long)]
        from: String,
        /// The last one.
        #[arg(long)]
        until: String,
        /// Milliseconds from one to the next.
        #[arg(long, default_value_t = 1_000)]
        pace_ms: u64,
        /// What they do about a run that is under way.
        #[arg(long)]
        overlap: Option<String>,
    },
    /// Show the next times.
    Preview {
        /// The schedule.
        id: String,
        /// How many.
        #[arg(long, default_value_t = 10)]
        count: u32,
    },
    /// Remove a schedule; its runs go on.
    Delete {
        /// The schedule.
        id: String,
    },
}

pub(crate) async fn call(client: &Client, verb: Schedules, json: bool) -> anyhow::Result<()> {
    let path = |id: &str, verb: &str| format!("/api/v1/schedules/{}{verb}", part(id));
    match verb {
        Schedules::Put { file } => {
            let body = read_file(&file)?;
            let as_json = file.extension().is_some_and(|kind| kind == "json");
            let kind = if as_json { "application/json" } else { "application/yaml" };
            let stored = client.post("/api/v1/schedules", Sent::text(body, kind)).await;
            let stored = stored.map_err(|error| in_file(error, &file))?;
            show(&stored, json, || println!("{}", text(&stored, "id")));
        }
        Schedules::List => {
            let page = client.get("/api/v1/schedules?limit=1000").await?;
            show(&page, json, || {
                let mut table = Table::new(["SCHEDULE", "WORKFLOW", "NEXT", "STARTED", "PAUSED"]);
                for schedule in page.get("items").map(items).into_iter().flatten() {
                    let next = schedule.get("next_times").map(items).and_then(<[Value]>::first);
                    let next = next.and_then(Value::as_str).unwrap_or_default().to_owned();
                    let counts = schedule.get("counts").cloned().unwrap_or_default();
                    let paused = schedule.get("paused").map(|pause| text(pause, "note")).unwrap_or_default();
                    let is_paused = schedule.get("paused").is_some_and(Value::is_object);
                    let paused = if is_paused && paused.is_empty() { "yes".to_owned() } else { paused };
                    let (id, workflow) = (text(schedule, "id"), text(schedule, "workflow_id"));
                    table.row([id, workflow, next, text(&counts, "started"), paused]);
                }
                table.print("no schedules; store one with `coretexctl schedules put FILE`");
            });
        }
        Schedules::Get { id } => {
            let schedule = client.get(&path(&id, "")).await?;
            show(&schedule, json, || {
                for name in ["id", "workflow_id", "cron", "interval", "time_zone", "overlap", "missed", "next_times"] {
                    println!("{name:<12} {}", text(&schedule, name));
                }
                let mut table = Table::new(["TIME", "KIND", "OUTCOME", "RUN", "REASON"]);
                for fired in schedule.get("history").map(items).into_iter().flatten() {
                    let reason = format!("{}{}", text(fired, "reason"), text(fired, "message"));
                    let cell = |name| text(fired, name);
                    table.row([cell("time"), cell("kind"), cell("outcome"), cell("run_id"), reason]);
                }
                table.print("no time has come yet");
            });
        }
        Schedules::Pause { id, note } => {
            let paused = client.post(&path(&id, "/pause"), Sent::json(&json!({"note": note}))).await?;
            show(&paused, json, || {});
        }
        Schedules::Resume { id } => {
            let resumed = client.post(&path(&id, "/resume"), Sent::nothing()).await?;
            show(&resumed, json, || {});
        }
        Schedules::Trigger { id, overlap } => {
            let fired = client.post(&path(&id, "/trigger"), Sent::json(&json!({"overlap": overlap}))).await?;
            show(&fired, json, || match text(&fired, "run_id") {
                run if run.is_empty() => println!("{} {}", text(&fired, "outcome"), text(&fired, "reason")),
                run => println!("{run}"),
            });
        }
        Schedules::Backfill { id, from, until, pace_ms, overlap } => {
            let body = json!({"from": from, "until": until, "pace_ms": pace_ms, "overlap": overlap});
            let schedule = client.post(&path(&id, "/backfill"), Sent::json(&body)).await?;
            show(&schedule, json, || {});
        }
        Schedules::Preview { id, count } => {
            let preview = client.get(&path(&id, &format!("/preview?count={count}"))).await?;
            show(&preview, json, || {
                for time in preview.get("times").map(items).into_iter().flatten().filter_map(Value::as_str) {
                    println!("{time}");
                }
            });
        }
        Schedules::Delete { id } => {
            client.delete(&path(&id, "")).await?;
        }
    }
    Ok(())
}
