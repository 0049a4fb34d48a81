//! `dev` and `serve`: a server until it is told to stop.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use coretex_core::ports::{Bus, PolicyEngine, SystemClock, memory::MemoryBus};
use coretex_policy::YamlPolicy;
use coretex_server::{Auth, Platform};
use tokio::net::TcpListener;

use crate::{demo::workers::Crew, key, key::Key, terminal};

#[derive(Debug, clap::Args)]
struct Common {
    /// Where to listen.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081", env = "CORETEX_HTTP_ADDR")]
    http_addr: String,
    /// Which workers serve which topics; without it every topic goes to the pool `default`.
    #[arg(long, value_name = "FILE")]
    pools: Option<PathBuf>,
    /// How long attempts and runs may take, and how often they are tried again, where they do not say so themselves.
    #[arg(long, value_name = "FILE")]
    timeouts: Option<PathBuf>,
    /// What may run: policy files, judged together.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    policy: Vec<PathBuf>,
    /// Workflows to store at the start: every YAML and JSON file in the directory.
    #[arg(long, value_name = "DIR")]
    workflows: Option<PathBuf>,
    /// Run the workers of the demo, and one that echoes `job.demo.>` and `job.default`.
    #[arg(long)]
    demo_workers: bool,
    #[cfg(feature = "endpoints")]
    #[command(flatten)]
    endpoints: crate::endpoints::Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    common: Common,
    /// Where state lives.
    #[arg(long, value_name = "DIR", default_value = ".coretex/dev")]
    data_dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    common: Common,
    /// Where state lives.
    #[arg(long, value_name = "DIR", env = "CORETEX_DATA_DIR")]
    data_dir: PathBuf,
}

pub(crate) async fn dev(args: DevArgs) -> anyhow::Result<ExitCode> {
    let DevArgs { common, data_dir } = args;
    let address = resolve(&common.http_addr).await?;
    if !address.ip().is_loopback() && key::given().is_none() {
        bail!("`dev` listens on this machine alone; set CORETEX_API_KEY to listen on {address}");
    }
    let policy =
        if common.policy.is_empty() { YamlPolicy::development()? } else { YamlPolicy::from_files(&common.policy)? };
    let key = key::given_or_kept(&data_dir)?;
    run(common, &data_dir, address, policy, &key).await
}

pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let ServeArgs { common, data_dir } = args;
    let Some(key) = key::given() else {
        bail!("`serve` needs a key that callers send; set CORETEX_API_KEY, or use `dev` to try things out");
    };
    if common.policy.is_empty() {
        bail!("`serve` needs to know what may run; give `--policy FILE`, or use `dev` to try things out");
    }
    let address = resolve(&common.http_addr).await?;
    let policy = YamlPolicy::from_files(&common.policy)?;
    run(common, &data_dir, address, policy, &key).await
}

async fn resolve(text: &str) -> anyhow::Result<SocketAddr> {
    // `:8081` is how the platform's users write every address of this machine.
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let mut found = tokio::net::lookup_host(&full)
        .await
        .with_context(|| format!("`{text}` is no address; give one like 127.0.0.1:8081"))?;
    found.next().with_context(|| format!("`{text}` is no address; give one like 127.0.0.1:8081"))
}

pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let taken = || format!("{address} cannot be listened on; stop what does, or give another `--http-addr`");
    TcpListener::bind(address).await.with_context(taken)
}

async fn run(
    common: Common,
    data: &Path,
    address: SocketAddr,
    policy: impl PolicyEngine,
    key: &Key,
) -> anyhow::Result<ExitCode> {
    // First, so that a taken address is told before anything is opened.
    let listener = bind(address).await?;
    let address = listener.local_addr()?;
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(Arc::new(SystemClock)));
    let mut platform = Platform::new(data, policy).bus(bus.clone());
    if let Some(pools) = &common.pools {
        platform = platform.pools_file(pools)?;
    }
    if let Some(timeouts) = &common.timeouts {
        platform = platform.timeouts_file(timeouts)?;
    }
    if let Some(directory) = &common.workflows {
        platform = platform.workflows_in(directory)?;
    }
    if common.demo_workers {
        platform = platform.workflow(crate::demo::workflow()?);
    }
    // Read before anything is opened, so that a mistake in it is told at once.
    #[cfg(feature = "endpoints")]
    let endpoints = crate::endpoints::read(&common.endpoints)?;
    // Opened first: its lock on the directory covers what the webhook keeps there. Work waits on the bus meanwhile.
    let plane = platform.open().await?;
    let crew = match common.demo_workers {
        true => Some(Crew::start(bus.clone(), data, std::time::Duration::ZERO).await?),
        false => None,
    };
    #[cfg(feature = "endpoints")]
    let endpoints = match endpoints {
        Some(endpoints) => Some(endpoints.start(bus, None).await?),
        None => None,
    };
    let stop = asked_to_stop();
    terminal::say(&format!("coretex-server listens on http://{address}, state in {}", data.display()));
    if key.made {
        terminal::say(&format!("  export CORETEX_SERVER=http://{address} CORETEX_API_KEY={}", key.text));
        terminal::say(&format!("  {} status", terminal::ctl()));
    }
    let served = coretex_server::serve(listener, plane.clone(), Auth::key(&key.text), stop).await;
    tracing::info!("stopping");
    if let Some(crew) = crew {
        crew.drain().await;
    }
    #[cfg(feature = "endpoints")]
    if let Some(endpoints) = endpoints {
        endpoints.drain().await;
    }
    plane.shutdown().await?;
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Completes when the process is asked to end: Ctrl-C, or SIGTERM. Both are listened for from the call on, not only
/// from the first poll: whoever reads that the server listens may stop it the next moment.
pub(crate) fn asked_to_stop() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let signals = {
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    };
    async move {
        #[cfg(unix)]
        if let (Ok(mut interrupt), Ok(mut terminate)) = signals {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
        drop(tokio::signal::ctrl_c().await);
    }
}
