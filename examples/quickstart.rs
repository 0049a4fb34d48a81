//! A durable workflow in your own process: `cargo run --example quickstart`.

use std::sync::Arc;

use coretex_core::{governance::Principal, runtime::*, scheduler::Routes, workflow::*};
use coretex_policy::YamlPolicy;
use coretex_store::embedded::EmbeddedStore;
use coretex_worker::{Input, JobError, Output, Worker};

const WORKFLOW: &str = "
id: greet
steps:
  hello: { topic: job.greet.hello, input: '${input.name}' }
  shout: { topic: job.greet.shout, input: '${steps.hello.output}', depends_on: [hello] }
";

async fn hello(Input(name): Input<String>) -> Result<Output<String>, JobError> {
    Ok(Output(format!("Hello, {name}")))
}

async fn shout(Input(text): Input<String>) -> Output<String> {
    Output(text.to_uppercase() + "!")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(EmbeddedStore::open(".coretex/quickstart").await?);
    let policy = YamlPolicy::development()?; // allows everything, and says so
    let plane = ControlPlane::builder(policy).store(store).routes(Routes::open()).start().await?;
    let worker = Worker::builder::<()>(plane.bus()).handle("job.greet.hello", hello).handle("job.greet.shout", shout);
    let worker = worker.build()?.start().await?;
    let me = Principal::human("ada");
    let workflow = plane.put_workflow(&me, Workflow::parse("greet", WORKFLOW)?).await?;
    let start = StartRequest::new(workflow.id().clone(), serde_json::json!({ "name": "Ada" }));
    let run = plane.wait(&me, &plane.start(&me, start).await?).await?;
    println!("{:?}", run.step("shout").and_then(|step| step.output.as_ref()?.value.clone()));
    worker.drain().await;
    Ok(plane.shutdown().await?)
}
