//! A worker in a process of its own: `cargo run -p coretex-worker --features ws --example remote-worker`.

use coretex_worker::{Input, JobError, Output, Worker};

async fn hello(Input(name): Input<String>) -> Result<Output<String>, JobError> {
    println!("greeting {name}");
    Ok(Output(format!("Hello, {name}")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::var("CORETEX_WORKER_SERVER").unwrap_or_else(|_| "ws://127.0.0.1:8081".to_owned());
    let key = std::env::var("CORETEX_API_KEY").map_err(|_| "set CORETEX_API_KEY to the key of the server")?;
    let worker = Worker::connect::<()>(server).api_key(key).handle("job.greet.hello", hello).build()?;
    println!("worker {} works until Ctrl-C", worker.id());
    // Ends with the jobs that run, and takes no more.
    let stats = worker.run(async { drop(tokio::signal::ctrl_c().await) }).await?;
    println!("{} jobs done", stats.succeeded);
    Ok(())
}
