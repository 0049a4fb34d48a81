//! The commands and their flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{dlq::Dlq, schedules::Schedules, triggers::Triggers};

/// The command line of a coretex server.
#[derive(Debug, Parser)]
#[command(name = "coretexctl", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where the server is.
    #[arg(long, global = true, value_name = "URL", env = "CORETEX_SERVER", default_value = "http://127.0.0.1:8081")]
    pub(crate) server: String,
    /// The key of the server.
    #[arg(long, global = true, value_name = "KEY", env = "CORETEX_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// In whose name.
    #[arg(long, global = true, value_name = "ID", env = "CORETEX_PRINCIPAL")]
    pub(crate) principal: Option<String>,
    /// Print the server's answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Definitions.
    #[command(subcommand, visible_alias = "workflows")]
    Workflow(Workflow),
    /// Runs of workflows.
    #[command(subcommand, visible_alias = "runs")]
    Run(Run),
    /// Steps of a run.
    #[command(subcommand, visible_alias = "steps")]
    Step(Step),
    /// Jobs by themselves.
    #[command(subcommand)]
    Job(Job),
    /// Questions that wait for a human.
    #[command(subcommand)]
    Approval(Approval),
    /// Jobs given up.
    #[command(subcommand)]
    Dlq(Dlq),
    /// Workflows started by the clock.
    #[command(subcommand, visible_alias = "schedule")]
    Schedules(Schedules),
    /// Events that are gathered until they start one run.
    #[command(subcommand, visible_alias = "trigger")]
    Triggers(Triggers),
    /// Workers.
    #[command(subcommand)]
    Worker(Worker),
    /// Expressions; needs no server.
    #[command(subcommand)]
    Expr(Expr),
    /// What the server runs on and how it is.
    Status,
    /// Remove what is older than it has to be; what is not named is kept.
    Prune(Prune),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Expr {
    /// Evaluate an expression on given data and print its value; JSON, or `missing`.
    Eval(Box<Eval>),
}

/// Data is JSON, or `@FILE`; `@-` reads the standard input.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// The expression, without `${` and `}`.
    #[arg(allow_hyphen_values = true)]
    pub(crate) expression: String,
    /// The input of the run.
    #[arg(long, value_name = "JSON|@FILE", allow_hyphen_values = true)]
    pub(crate) input: Option<String>,
    /// The steps: `{"fetch": {"output": {}, "status": "succeeded"}}`. Their ids may then have dashes.
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) steps: Option<String>,
    /// The context of the run.
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) ctx: Option<String>,
    /// The element of a `for_each`.
    #[arg(long, value_name = "JSON|@FILE", allow_hyphen_values = true)]
    pub(crate) item: Option<String>,
    /// Another root variable, such as `run={"id": "r1"}`; may be repeated.
    #[arg(long, value_name = "NAME=JSON|@FILE")]
    pub(crate) root: Vec<String>,
    /// The JSON Schema of the input: paths and types are checked as at registration.
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) input_schema: Option<String>,
    /// Show the value of every part.
    #[arg(long)]
    pub(crate) trace: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Workflow {
    /// Store a definition, YAML or JSON; `-` reads it from the standard input.
    Create {
        /// The file.
        file: PathBuf,
        /// Why, for the list of versions.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// List definitions, newest change first.
    List,
    /// Show a definition.
    Get {
        /// The workflow.
        id: String,
    },
    /// Remove a definition, unless runs of it are live.
    Delete {
        /// The workflow.
        id: String,
        /// Remove it all the same; runs that are under way keep theirs.
        #[arg(long)]
        force: bool,
    },
    /// List versions, newest first.
    Versions {
        /// The workflow.
        id: String,
        /// Show this one, by number or digest, with its content.
        version: Option<String>,
    },
    /// Show what sets two versions apart, and the live runs that the change would meet.
    Diff {
        /// The workflow.
        id: String,
        /// The version that is changed; the one before `to` unless told.
        #[arg(long, value_name = "VERSION")]
        from: Option<String>,
        /// The version that it is changed to; the current one unless told.
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
    },
    /// Show what a run would do, without starting one: order, pools, approvals, what policy says.
    Plan {
        /// A stored workflow, or a file with a definition, YAML or JSON; `-` reads it from the standard input.
        #[arg(value_name = "ID|FILE")]
        workflow: String,
        /// The input that policy sees: JSON, a file, or `-` for the standard input. For a stored workflow.
        #[arg(long, value_name = "JSON|FILE")]
        input: Option<String>,
        /// Plan this version, by number or digest, instead of the current one. For a stored workflow.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
    },
    /// Move the live runs of a workflow onto another version, each that can; say of the others what is in the way.
    Migrate(MigrateAll),
    /// Make an older version current again, as a new version, and print its number.
    Rollback {
        /// The workflow.
        id: String,
        /// The version, by number or digest.
        version: String,
        /// Why, for the list of versions.
        #[arg(long, default_value = "")]
        note: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Run {
    /// Start a run and print its id.
    Start {
        /// The workflow.
        workflow: String,
        /// The input: JSON, a file, or `-` for the standard input.
        #[arg(long, value_name = "JSON|FILE")]
        input: Option<String>,
        /// Start at most one run under this key.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// How urgent it is: critical, interactive or batch.
        #[arg(long)]
        priority: Option<String>,
        /// Pin this version, by number or digest, instead of the current one.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        /// Label it; may be repeated.
        #[arg(long, value_name = "NAME=VALUE")]
        label: Vec<String>,
        /// Decide everything and let nothing leave the server: no job, no alert, no question.
        #[arg(long)]
        dry_run: bool,
        /// Follow it to its end.
        #[arg(long)]
        watch: bool,
    },
    /// List runs, newest first.
    List(RunFilter),
    /// Start a run again with the same input on another version, and print its id; a live one is cancelled first.
    Restart {
        /// The run.
        id: String,
        /// The version, by number or digest; the current one unless told.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
    },
    /// Move a run that is under way onto another version, where it goes on. Exits with 1 when something is in the way.
    Migrate(Migrate),
    /// Start a run that goes on from another one, and print its id. What ended well is kept.
    Rerun(Rerun),
    /// Show why a run is not further, and what to do about it.
    Why {
        /// The run.
        id: String,
    },
    /// Show a run as it was after an event.
    State {
        /// The run.
        id: String,
        /// The number of the event, as the timeline says it.
        #[arg(long, value_name = "EVENT")]
        at: u64,
    },
    /// Fold a run's whole log anew and compare it with what is stored; exit code 1 when they differ.
    Replay {
        /// The run.
        id: String,
    },
    /// Send a signal to a run.
    Signal {
        /// The run.
        id: String,
        /// The name of the signal.
        name: String,
        /// What it carries: JSON, a file, or `-` for the standard input.
        #[arg(long, value_name = "JSON|FILE", allow_hyphen_values = true)]
        payload: Option<String>,
        /// Makes a repeat harmless; without it every call is a signal of its own.
        #[arg(long = "id", value_name = "ID")]
        signal_id: Option<String>,
    },
    /// List runs that wait for a place under their concurrency key.
    Queued {
        /// Only under this key.
        #[arg(long)]
        key: Option<String>,
    },
    /// Show a run and its steps.
    #[command(visible_alias = "show")]
    Get {
        /// The run.
        id: String,
    },
    /// Stop a run: what succeeded is undone and its `finally` steps run.
    Cancel {
        /// The run.
        id: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
        /// Undo nothing and run no last steps; ends a run too that is stuck in them.
        #[arg(long)]
        force: bool,
    },
    /// Show what happened in a run.
    Timeline {
        /// The run.
        id: String,
    },
    /// Follow a run live to its end; exit code 3 when it does not succeed.
    Watch {
        /// The run.
        id: String,
    },
    /// Remove a run that has ended.
    Delete {
        /// The run.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Rerun {
    /// The run to go on from.
    pub(crate) id: String,
    /// Run this step anew, and all that waits for it; an item or iteration is `scan[2]`.
    #[arg(long, value_name = "STEP")]
    pub(crate) from_step: Option<String>,
    /// Go on from the state after this event, rather than the last.
    #[arg(long, value_name = "EVENT")]
    pub(crate) at_event: Option<u64>,
    /// Keep nothing: run it from the beginning.
    #[arg(long, conflicts_with_all = ["from_step", "at_event"])]
    pub(crate) fresh: bool,
    /// Another input: JSON, a file, or `-` for the standard input.
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) input: Option<String>,
    /// Start at most one run under this key.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Decide everything and let nothing leave the server.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Follow the new run to its end.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Which runs.
#[derive(Debug, Args)]
pub(crate) struct RunFilter {
    /// Only of this workflow.
    #[arg(long, value_name = "ID")]
    pub(crate) workflow: Option<String>,
    /// Only in one of these states.
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// Only of this team.
    #[arg(long, value_name = "ID")]
    pub(crate) team: Option<String>,
    /// Only with this label; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Only created then or later.
    #[arg(long, value_name = "TIME")]
    pub(crate) created_after: Option<String>,
    /// Only created then or earlier.
    #[arg(long, value_name = "TIME")]
    pub(crate) created_before: Option<String>,
    /// Only those whose state changed last then or later.
    #[arg(long, value_name = "TIME")]
    pub(crate) updated_after: Option<String>,
    /// Only those whose state changed last then or earlier.
    #[arg(long, value_name = "TIME")]
    pub(crate) updated_before: Option<String>,
    /// Only with an id that begins so; by id then, last first.
    #[arg(long, value_name = "TEXT")]
    pub(crate) id_prefix: Option<String>,
    /// Only those that have an error.
    #[arg(long)]
    pub(crate) has_error: bool,
    /// Only those with this error.
    #[arg(long, value_name = "CODE")]
    pub(crate) error_code: Option<String>,
    /// Most runs.
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: u32,
    /// Where to go on, as the list before said.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The run.
    pub(crate) id: String,
    /// The version, by number or digest; the current one unless told.
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// Only while the run has as many events, as `--dry-run` showed.
    #[arg(long, value_name = "SEQ")]
    pub(crate) at: Option<u64>,
    /// Why, for the timeline.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Only say whether it can move.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateAll {
    /// The workflow.
    pub(crate) id: String,
    /// The version that they move onto, by number or digest; the current one unless told.
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<String>,
    /// Only runs that are under this version.
    #[arg(long, value_name = "VERSION")]
    pub(crate) from: Option<String>,
    /// Only runs in this state; may be repeated.
    #[arg(long)]
    pub(crate) status: Vec<String>,
    /// Only runs with this label; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Why, for the timelines.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Only say which of them can move.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Ages are whole numbers with a unit: `90s`, `15m`, `12h`, `30d`, `8w`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Only say what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Runs that succeeded longer ago.
    #[arg(long, value_name = "AGE")]
    pub(crate) succeeded: Option<String>,
    /// Runs that failed longer ago.
    #[arg(long, value_name = "AGE")]
    pub(crate) failed: Option<String>,
    /// Runs that were cancelled longer ago.
    #[arg(long, value_name = "AGE")]
    pub(crate) cancelled: Option<String>,
    /// Runs that timed out longer ago.
    #[arg(long, value_name = "AGE")]
    pub(crate) timed_out: Option<String>,
    /// Timelines of runs that ended longer ago and stay.
    #[arg(long, value_name = "AGE")]
    pub(crate) timelines: Option<String>,
    /// Dead letters that are older.
    #[arg(long, value_name = "AGE")]
    pub(crate) dead_letters: Option<String>,
    /// Versions that were superseded longer ago and that no run pins.
    #[arg(long, value_name = "AGE")]
    pub(crate) versions: Option<String>,
    /// Blobs that are older and that nothing needs.
    #[arg(long, value_name = "AGE")]
    pub(crate) blobs: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StepOf {
    /// The run.
    pub(crate) run: String,
    /// The step.
    pub(crate) step: String,
    /// Why.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Step {
    /// Say yes to a step that waits.
    Approve(StepOf),
    /// Say no to a step that waits.
    Reject(StepOf),
    /// Give the data that a step waits for.
    Input {
        /// The run.
        run: String,
        /// The step; an item or iteration is `scan[2]`.
        step: String,
        /// JSON, a file, or `-` for the standard input.
        #[arg(long, value_name = "JSON|FILE", allow_hyphen_values = true)]
        data: String,
    },
    /// Say how a parked step goes on. A step that waits for data or a signal can be skipped or failed too.
    Resolve {
        /// The run.
        run: String,
        /// The step; an item or iteration is `scan[2]`.
        step: String,
        /// How it goes on.
        action: Action,
        /// With `complete`, what the step made: JSON, a file, or `-` for the standard input.
        #[arg(long, value_name = "JSON|FILE", allow_hyphen_values = true)]
        output: Option<String>,
        /// With `fail`, why.
        #[arg(long)]
        reason: Option<String>,
        /// With `retry` of a job step, what it works on from now on: JSON, a file, or `-` for the standard input.
        #[arg(long, value_name = "JSON|FILE", allow_hyphen_values = true)]
        input: Option<String>,
    },
}

/// How a parked step goes on.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Action {
    /// Another try, with a fresh set of retries.
    Retry,
    /// It is done.
    Complete,
    /// It is not needed; what waits for it goes on.
    Skip,
    /// It has failed.
    Fail,
}

impl Action {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Complete => "complete",
            Self::Skip => "skip",
            Self::Fail => "fail",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// Submit a job and print its id.
    Submit {
        /// The kind of work, `job.…`.
        #[arg(long)]
        topic: String,
        /// What it is about.
        #[arg(long, default_value = "")]
        prompt: String,
        /// Its context: JSON, a file, or `-` for the standard input.
        #[arg(long, value_name = "JSON|FILE")]
        input: Option<String>,
        /// Submit at most one job under this key.
        #[arg(long, value_name = "KEY", default_value = "")]
        idempotency_key: String,
        /// What it does, as policy knows it.
        #[arg(long, default_value = "")]
        capability: String,
        /// What policy weighs.
        #[arg(long, value_delimiter = ',')]
        risk_tags: Vec<String>,
        /// What its pool must offer.
        #[arg(long, value_delimiter = ',')]
        requires: Vec<String>,
    },
    /// Show a job.
    Get {
        /// The job.
        id: String,
    },
    /// Stop a job.
    Cancel {
        /// The job.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Question {
    /// A job, or `<run>:<step>`.
    pub(crate) id: String,
    /// Why.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Approval {
    /// List what waits.
    List,
    /// Say yes.
    Approve(Question),
    /// Say no.
    Reject(Question),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// List workers that were heard of lately.
    List,
    /// Write a crate with a worker that connects to a server; needs no server.
    New(crate::scaffold::New),
}
