//! Containers on a real engine: Podman's API service with storage of its own, and an image made of a static busybox.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use coretex_core::protocol::JobStatus;
use coretex_worker::endpoint::{Endpoints, Host};
use serde_json::{Value, json};

use crate::{
    engine::{FakeEngine, Follow},
    rig::{Rig, Scratch, TOPIC, constrained, due_in, host, job, requiring},
};

const IMAGE: &str = "localhost/coretex-busybox:test";
const TOOLS: [&str; 14] =
    ["sh", "cat", "echo", "sleep", "id", "touch", "mkdir", "ln", "dd", "yes", "printf", "grep", "ip", "env"];
/// Set in a process that is going to be killed.
const CRASHER: &str = "CORETEX_TEST_CRASHER_SOCKET";

struct Engine {
    scratch: Scratch,
    service: Child,
}

impl Engine {
    /// `None` without Podman, which is a failure where everything has to be tested.
    fn start() -> Option<Self> {
        let found = ["podman", "runc", "busybox"].iter().all(|name| {
            let found = Command::new(name).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
            found.is_ok()
        });
        if !found {
            assert!(std::env::var_os("CI").is_none(), "podman, runc and busybox are missing; run scripts/test");
            eprintln!("skipped: podman, runc and busybox are missing");
            return None;
        }
        let scratch = Scratch::new();
        let here = scratch.path().display();
        scratch.file(
            "containers.conf",
            "[containers]\ndefault_ulimits = [\"nofile=1000:1000\", \"nproc=1000:1000\"]\n\
             [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
        );
        let storage = format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{here}/root\"\nrunroot = \"{here}/run\"\n");
        scratch.file("storage.conf", &storage);
        let tree = scratch.path().join("tree");
        std::fs::create_dir_all(tree.join("bin")).unwrap();
        std::fs::create_dir(tree.join("tmp")).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).is_file()).unwrap();
        std::fs::copy(busybox, tree.join("bin/busybox")).unwrap();
        for tool in TOOLS {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(tool)).unwrap();
        }
        let tar = scratch.path().join("tree.tar");
        assert!(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tar).arg(".").status().unwrap().success());
        let podman = |arguments: &[&str]| podman(scratch.path(), arguments);
        let imported = podman(&["import", tar.to_str().unwrap(), IMAGE]).output().unwrap();
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        let socket = format!("unix://{here}/engine.sock");
        let service = podman(&["system", "service", "--time=0", &socket]).stderr(Stdio::null()).spawn().unwrap();
        let engine = Self { scratch, service };
        while std::os::unix::net::UnixStream::connect(engine.socket()).is_err() {
            std::thread::yield_now();
        }
        Some(engine)
    }

    fn socket(&self) -> PathBuf {
        self.scratch.path().join("engine.sock")
    }

    fn containers(&self, which: &[&str]) -> Vec<String> {
        let listed = podman(self.scratch.path(), &["ps", "-q"]).args(which).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Waits for a container to run.
    async fn running(&self) {
        while self.containers(&[]).is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[track_caller]
    fn is_empty(&self) {
        assert_eq!(self.containers(&["-a"]), Vec::<String>::new(), "no container is left");
    }

    /// An endpoint that runs `body` with the container's shell.
    fn shell(&self, body: &str, more: &str, container: &str) -> String {
        shell(&self.socket(), body, more, container)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = podman(self.scratch.path(), &["rm", "-fa", "-t", "0"]).stdout(Stdio::null()).status();
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

fn podman(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", home.join("containers.conf"));
    command.env("CONTAINERS_STORAGE_CONF", home.join("storage.conf"));
    command.args(arguments);
    command
}

fn shell(socket: &Path, body: &str, more: &str, container: &str) -> String {
    let body = serde_json::to_string(body).unwrap();
    format!(
        "endpoints:\n  e:\n    topics: [{TOPIC}]\n{more}\n    container:\n      image: {IMAGE}\n      socket: {}\n      \
         command: [/bin/sh, -c, {body}]\n{container}\n",
        socket.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn json_goes_in_output_and_files_come_out_and_nothing_stays() {
    let Some(engine) = Engine::start() else { return };
    let body = "cat /coretex/input.json; printf text > a.txt; printf '\\377' > b; mkdir d; ln -s /etc/passwd link";
    let more = "    output: { got: '${answer.stdout}', files: '${answer.files}' }";
    let mut rig = Rig::start(&engine.shell(body, more, "      files: true")).await;
    let input = json!({"a": ["ü", 1]});
    let files = json!({"a.txt": {"bytes": 4, "text": "text"}, "b": {"bytes": 1, "base64": "/w=="}});
    assert_eq!(rig.run(input.clone()).await.output(), json!({"got": input, "files": files}));
    engine.is_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_box_is_closed() {
    let Some(engine) = Engine::start() else { return };
    let body = "id -u; id -g; \
        touch /x 2>/dev/null && echo 'root is writable'; \
        touch /coretex/input.json 2>/dev/null && echo 'input is writable'; \
        touch /tmp/x && echo tmp; \
        grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status; \
        ip -o link | grep -v ': lo:' | grep -c .; \
        cat /proc/self/limits | grep -E 'open files|core file size' | grep -o '  [0-9]* ' ; \
        env | grep -E '^GREETING='; \
        dd if=/dev/zero of=/tmp/big bs=1M count=3 2>/dev/null || echo 'tmp is bounded'";
    let container = "      stdout: text\n      tmp_bytes: 2097152\n      open_files: 100\n      env: { GREETING: 'hello ${input}' }";
    let mut rig = Rig::start(&engine.shell(body, "", container)).await;
    let printed = rig.run(json!("you")).await.output();
    let words: Vec<&str> = printed.as_str().unwrap().split_whitespace().collect();
    let zero = "0000000000000000";
    let expected = ["65534", "65534", "tmp", "CapBnd:", zero, "CapEff:", zero, "NoNewPrivs:", "1", "0"];
    for word in expected {
        assert!(words.contains(&word), "{word} in {printed}");
    }
    let text = printed.as_str().unwrap();
    assert!(!text.contains("is writable"), "{text}");
    assert!(text.contains("GREETING=hello you\n") && text.contains("tmp is bounded\n"), "{text}");
    engine.is_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_limits_and_bounds() {
    let Some(engine) = Engine::start() else { return };
    let container =
        "      memory_bytes: 33554432\n      processes: 8\n      exit_codes: { '75': { as: retry, code: busy } }";
    let document = engine.shell(
        "eval \"$BODY\"",
        "    max_output_bytes: 100000",
        &format!("{container}\n      env: {{ BODY: '${{input}}' }}"),
    );
    let mut rig = Rig::start(&document).await;
    let ended = rig.run(json!("echo why >&2; exit 3")).await;
    ended.failed(JobStatus::Failed, "container_failed");
    assert_eq!(ended.text(), "the program ended with 3: why");
    rig.run(json!("exit 75")).await.failed(JobStatus::FailedRetryable, "busy");
    rig.run(json!("yes")).await.failed(JobStatus::FailedFatal, "endpoint_output_too_large");
    // A shell doubles a text until its memory is used up.
    let ended = rig.run(json!("x=0123456789; while :; do x=$x$x; done")).await;
    ended.failed(JobStatus::Failed, "container_killed");
    let ended = rig.run(json!("for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo 1")).await;
    assert_ne!(ended.status(), JobStatus::Succeeded, "{}", ended.told());
    rig.run(json!("echo {")).await.failed(JobStatus::FailedFatal, "endpoint_output_malformed");
    engine.is_empty();

    let missing = engine.shell("true", "", "").replace(IMAGE, "localhost/nothing:1");
    Rig::start(&missing).await.run(json!(null)).await.failed(JobStatus::FailedFatal, "container_image_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_and_deadline_kill_the_container() {
    let Some(engine) = Engine::start() else { return };
    let mut rig =
        Rig::start(&engine.shell("trap '' TERM; sleep 1000 & wait; sleep 1000", "    grace_sec: 1", "")).await;
    rig.send(job("r1:a@1"), json!(null)).await;
    engine.running().await;
    rig.cancel("r1:a@1").await;
    rig.result().await.failed(JobStatus::Cancelled, "cancelled");
    engine.is_empty();
    rig.ask(due_in(3000, job("")), json!(null)).await.failed(JobStatus::Failed, "deadline_exceeded");
    engine.is_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_enforces_what_it_advertises() {
    let Some(engine) = Engine::start() else { return };
    let more = "    profile: sealed\n    tools: [busybox]";
    let profiles = "profiles: { sealed: { sandbox: isolated, network: none, fs: ro, tools: [busybox] } }\n";
    let document = format!("{profiles}{}", engine.shell("echo 1", more, ""));
    let endpoints = Endpoints::parse("e.yaml", &document, &Host::default()).unwrap();
    let advertised = endpoints.capabilities("e").join(" ");
    let expected = "fs=ro fs=rw network=egress-allowlist network=none profile=sealed sandbox=isolated sandbox=process tool=busybox";
    assert_eq!(advertised, expected);
    let mut rig = Rig::start(&document).await;
    rig.ask(requiring(&["profile=sealed", "network=none"]), json!(null)).await.output();
    let strict = json!({
        "sandbox": {"isolated": true, "network_allowlist": ["example.org"], "fs_read_only": ["/x"], "fs_read_write": ["/y"]},
        "toolchain": {"allowed_tools": ["busybox"]},
    });
    rig.ask(constrained(&strict), json!(null)).await.output();

    // With a network it no longer is what the profile promises.
    let open = format!("{profiles}{}", engine.shell("echo 1", more, "      network: bridge"));
    let error = Endpoints::parse("e.yaml", &open, &Host::default()).unwrap_err();
    assert_eq!(error.problems()[0].place(), "endpoints.e.profile");
    let mut rig = Rig::start(&engine.shell("echo 1", "", "      network: bridge")).await;
    let ended = rig.ask(constrained(&json!({"sandbox": {"network_allowlist": ["example.org"]}})), json!(null)).await;
    ended.failed(JobStatus::FailedFatal, "constraint_unsupported");
    for field in ["network: host", "user: '0:0'", "user: root", "socket: engine.sock", "cpus: 0"] {
        let document = engine.shell("true", "", &format!("      {field}"));
        // One of them is given twice then, which is refused as well.
        assert!(Endpoints::parse("e.yaml", &document, &Host::default()).is_err(), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_taken_out_of_what_a_container_prints() {
    let Some(engine) = Engine::start() else { return };
    let scratch = Scratch::new();
    scratch.file("token", "t0p-s3cr3t");
    let more = "    secrets: { token: secret://file/token }";
    let container = "      stdout: text\n      env: { TOKEN: '${secrets.token}' }";
    let document = engine.shell(
        "echo $TOKEN; echo $TOKEN >&2; [ $TOKEN = t0p-s3cr3t ] && exit $(cat /coretex/input.json)",
        more,
        container,
    );
    let mut rig = Rig::on(&document, &host(scratch.path())).await;
    assert_eq!(rig.run(json!(0)).await.output(), json!("<redacted>\n"));
    let ended = rig.run(json!(4)).await;
    assert_eq!(ended.text(), "the program ended with 4: <redacted>");
}

#[tokio::test]
async fn an_engine_that_is_not_there_stops_the_start() {
    let document = shell(Path::new("/does/not/exist.sock"), "true", "", "");
    let endpoints = Endpoints::parse("e.yaml", &document, &Host::default()).unwrap();
    let clock = std::sync::Arc::new(coretex_core::ports::SystemClock);
    let bus = std::sync::Arc::new(coretex_core::ports::memory::MemoryBus::new(clock));
    let error = endpoints.start(bus, None).await.unwrap_err();
    assert_eq!(error.code(), "container_engine_unavailable");
}

/// Started by the test below in a process of its own: runs a job until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn crasher() {
    let Some(socket) = std::env::var_os(CRASHER) else { return };
    let document = shell(Path::new(&socket), "sleep 1000", "", "");
    let rig = Rig::start(&document).await;
    rig.send(job("r1:a@1"), Value::Null).await;
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_left_is_removed_at_the_next_start_and_no_more() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(&engine.shell("sleep 1000", "    grace_sec: 0", "")).await;
    rig.send(job("r2:alive@1"), Value::Null).await;
    engine.running().await;
    let alive = engine.containers(&[]);

    let mut crasher = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "container::crasher"])
        .env(CRASHER, engine.socket())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while engine.containers(&[]).len() < 2 {
        tokio::task::yield_now().await;
    }
    let mounts = |id: &str| {
        let format = "{{range .Mounts}}{{.Source}}\n{{end}}";
        let told = podman(engine.scratch.path(), &["inspect", "--format", format, id]).output().unwrap();
        String::from_utf8(told.stdout).unwrap().lines().map(PathBuf::from).find(|path| path.ends_with("out")).unwrap()
    };
    let orphan = engine.containers(&[]).into_iter().find(|id| !alive.contains(id)).unwrap();
    let (orphaned, used) = (mounts(&orphan), mounts(&alive[0]));
    crasher.kill().unwrap();
    crasher.wait().unwrap();
    assert_eq!(engine.containers(&[]).len(), 2, "a killed worker leaves its container");

    let _next = Rig::start(&engine.shell("true", "", "")).await;
    assert_eq!(engine.containers(&["-a"]), alive, "the other worker's container stays");
    assert!(used.is_dir() && !orphaned.parent().unwrap().exists(), "{orphaned:?}");
    rig.cancel("r2:alive@1").await;
    rig.result().await.failed(JobStatus::Cancelled, "cancelled");
    engine.is_empty();
}

#[tokio::test]
async fn a_container_that_ended_well_did_whatever_becomes_of_the_stream_that_follows_it() {
    for follow in [Follow::BreaksOff, Follow::Refused, Follow::StaysOpen] {
        let engine = FakeEngine::start(follow, 0);
        let mut rig = Rig::start(&shell(&engine.socket(), "true", "", "")).await;
        let ended = rig.run(json!(null)).await;
        assert_eq!(ended.status(), JobStatus::Succeeded, "{follow:?}: {}", ended.told());
        assert_eq!(ended.output(), json!({"n": 1}), "{follow:?}");
    }
}

#[tokio::test]
async fn a_removal_that_is_refused_while_the_engine_cleans_up_is_asked_for_again() {
    let engine = FakeEngine::start(Follow::StaysOpen, 2);
    let mut rig = Rig::start(&shell(&engine.socket(), "true", "", "")).await;
    assert_eq!(rig.run(json!(null)).await.output(), json!({"n": 1}));
    assert_eq!(engine.removals(), 3);
}
