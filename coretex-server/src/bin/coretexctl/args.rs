//! The commands and their flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{schedules::Schedules, triggers::Triggers};

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
    #[command(subcommand)]
    Workflow(Workflow),
    /// Runs of workflows.
    #[command(subcommand)]
    Run(Run),
    /// Steps of a run.
    #[command(subcommand)]
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
    /// What the server runs on and how it is.
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Workflow {
    /// Store a definition, YAML or JSON; `-` reads it from the standard input.
    Create {
        /// The file.
        file: PathBuf,
    },
    /// List definitions, newest change first.
    List,
    /// Show a definition.
    Get {
        /// The workflow.
        id: String,
    },
    /// Remove a definition; runs that are under way keep theirs.
    Delete {
        /// The workflow.
        id: String,
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
        /// Follow it to its end.
        #[arg(long)]
        watch: bool,
    },
    /// List runs, newest first.
    List {
        /// Only of this workflow.
        #[arg(long, value_name = "ID")]
        workflow: Option<String>,
        /// Only in this state.
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// Most runs.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// List runs that wait for a place under their concurrency key.
    Queued {
        /// Only under this key.
        #[arg(long)]
        key: Option<String>,
    },
    /// Show a run and its steps.
    Get {
        /// The run.
        id: String,
    },
    /// Stop a run.
    Cancel {
        /// The run.
        id: String,
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
pub(crate) enum Dlq {
    /// List jobs given up, newest first.
    List,
    /// Submit one again, as a new job, and print its id.
    Retry {
        /// The job.
        id: String,
    },
    /// Forget one.
    Delete {
        /// The job.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// List workers that were heard of lately.
    List,
}
