//! `coretexctl dlq`: jobs given up.

use clap::{Args, Subcommand};
use coretex_server::client::{Client, Sent};
use serde_json::{Map, Value, json};

use crate::{
    call::{items, number, part, query, read_input, show},
    print::{Table, pretty, text},
};

/// Letters asked for at a time.
const PAGE: &str = "200";

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List jobs given up, newest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// List failures of one kind as one line: how many, since when, which.
    Groups,
    /// Show one with everything that the job was, and what became of it.
    Get {
        /// The job.
        id: String,
    },
    /// Try one again and print the id of the job that does the work now: the next try of a step that is parked on it,
    /// otherwise a new job.
    Retry {
        /// The job.
        id: String,
        /// Another input: JSON, a file, or `-` for the standard input.
        #[arg(long, value_name = "JSON|FILE", allow_hyphen_values = true)]
        input: Option<String>,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Try all again that fit. Those that fail meanwhile are not met.
    RetryAll(Many),
    /// Forget one.
    Delete {
        /// The job.
        id: String,
    },
    /// Forget all that fit.
    DeleteAll(Many),
}

#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only failures of this kind.
    #[arg(long)]
    fingerprint: Option<String>,
    /// Only failures with this code.
    #[arg(long)]
    code: Option<String>,
    /// Only jobs of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only jobs of this workflow's steps.
    #[arg(long)]
    workflow: Option<String>,
    /// Only jobs of this run's steps.
    #[arg(long)]
    run: Option<String>,
    /// Only jobs given up then or later: RFC 3339 or Unix time.
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// Only jobs given up then or earlier.
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Many {
    #[command(flatten)]
    filter: Filter,
    /// Every one, without a filter.
    #[arg(long)]
    all: bool,
    /// Only say how many there are.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
}

impl Filter {
    fn fields(self) -> impl Iterator<Item = (&'static str, String)> {
        let Self { fingerprint, code, topic, workflow, run, after, before } = self;
        let fields = [
            ("fingerprint", fingerprint),
            ("code", code),
            ("topic", topic),
            ("workflow_id", workflow),
            ("run_id", run),
            ("created_after", after),
            ("created_before", before),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

pub(crate) async fn call(client: &Client, verb: Dlq, json: bool) -> anyhow::Result<()> {
    let path = |id: &str, verb: &str| format!("/api/v1/dlq/{}{verb}", part(id));
    match verb {
        Dlq::List { filter, limit } => {
            let list = query("/api/v1/dlq", filter.fields().chain([("limit", limit.to_string())]));
            let list = client.get(&list).await?;
            show(&list, json, || letters(&list));
        }
        Dlq::Groups => {
            let groups = groups(client).await?;
            let mut table = Table::new(["FINGERPRINT", "COUNT", "LAST SEEN", "TOPIC", "CODE", "REASON"]);
            for group in &groups {
                let cell = |name| text(group, name);
                let count = number(group, "count").to_string();
                table.row([
                    cell("fingerprint"),
                    count,
                    cell("last_seen"),
                    cell("topic"),
                    cell("code"),
                    cell("pattern"),
                ]);
            }
            let whole = Value::Array(groups);
            show(&whole, json, || table.print("no jobs were given up"));
        }
        Dlq::Get { id } => pretty(&client.get(&path(&id, "")).await?),
        Dlq::Retry { id, input, reason } => {
            let mut body = Map::from_iter([("reason".to_owned(), json!(reason))]);
            if let Some(input) = input {
                body.insert("input".into(), read_input(&input)?);
            }
            let answer = client.post(&path(&id, "/retry"), Sent::json(&Value::Object(body))).await?;
            show(&answer, json, || println!("{}", text(&answer, "job_id")));
        }
        Dlq::RetryAll(many) => self::many(client, many, "retry", json).await?,
        Dlq::Delete { id } => {
            client.delete(&path(&id, "")).await?;
        }
        Dlq::DeleteAll(many) => self::many(client, many, "delete", json).await?,
    }
    Ok(())
}

fn letters(list: &Value) {
    let mut table = Table::new(["JOB", "TOPIC", "CODE", "TRIES", "FINGERPRINT", "REASON"]);
    for letter in items(list) {
        let cell = |name| text(letter, name);
        let tries = number(letter, "attempts").to_string();
        table.row([cell("job_id"), cell("topic"), cell("reason_code"), tries, cell("fingerprint"), cell("reason")]);
    }
    table.print("no jobs were given up");
}

/// All groups, those seen last first.
async fn groups(client: &Client) -> anyhow::Result<Vec<Value>> {
    let (mut groups, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = query("/api/v1/dlq/groups", [("limit", PAGE.to_owned()), ("cursor", cursor)]);
        let page = client.get(&page).await?;
        groups.extend(page.get("items").map(items).unwrap_or_default().iter().cloned());
        cursor = text(&page, "next_cursor");
        if cursor.is_empty() {
            groups.sort_by_key(|group| std::cmp::Reverse(text(group, "last_seen")));
            return Ok(groups);
        }
    }
}

async fn many(client: &Client, many: Many, verb: &str, json: bool) -> anyhow::Result<()> {
    let Many { filter, all, dry_run, reason } = many;
    let mut body: Map<String, Value> = filter.fields().map(|(name, value)| (name.to_owned(), value.into())).collect();
    body.extend([
        ("all".to_owned(), json!(all)),
        ("dry_run".to_owned(), json!(dry_run)),
        ("reason".to_owned(), json!(reason)),
    ]);
    let body = Value::Object(body);
    if dry_run {
        let told = client.post(&format!("/api/v1/dlq/{verb}"), Sent::json(&body)).await?;
        let more = if told.get("more") == Some(&json!(true)) { " or more" } else { "" };
        show(&told, json, || println!("{}{more}", number(&told, "count")));
        return Ok(());
    }
    let (mut done, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = query(&format!("/api/v1/dlq/{verb}"), [("limit", PAGE.to_owned()), ("cursor", cursor)]);
        let page = client.post(&path, Sent::json(&body)).await?;
        done.extend(page.get("items").map(items).unwrap_or_default().iter().cloned());
        cursor = text(&page, "next_cursor");
        if cursor.is_empty() {
            break;
        }
    }
    let mut table = Table::new(["JOB", "RETRIED AS", "REFUSED"]);
    for outcome in &done {
        let refused = [text(outcome, "code"), text(outcome, "message")].join(" ");
        table.row([text(outcome, "job_id"), text(outcome, "retried_as"), refused.trim().to_owned()]);
    }
    let done = Value::Array(done);
    show(&done, json, || table.print("no dead letter fits"));
    Ok(())
}
