use std::{fs, sync::Arc};

use coretex_core::{
    policy::Outcome,
    ports::{PolicyEngine, Verdict},
};

use super::*;
use crate::{OnNoMatch, PolicyFiles, Trust, error::ErrorCode, testing::ask};

fn outcome(engine: &YamlPolicy, topic: &str) -> Outcome {
    match engine.snapshot().evaluate(&ask(topic).request()) {
        Verdict::Decided(decision) => decision.outcome,
        Verdict::Ask => panic!("rules never ask"),
    }
}

const ALLOW: &str = "rules: [{ id: all, decision: allow }]";
const DENY: &str = "rules: [{ id: all, decision: deny }]";

#[test]
fn a_publication_replaces_the_policy_in_one_step() {
    let engine = YamlPolicy::from_yaml("base", ALLOW).unwrap();
    let held: Arc<dyn PolicySnapshot> = engine.snapshot();
    assert!(held.governed());
    let id = engine.publish([Bundle::parse("base", Origin::Base, DENY).unwrap()]).unwrap();
    assert_eq!(*engine.snapshot().id(), id);
    assert_eq!(outcome(&engine, "job.a"), Outcome::Deny);
    let Verdict::Decided(old) = held.evaluate(&ask("job.a").request()) else { panic!() };
    assert_eq!(old.outcome, Outcome::Allow, "a held snapshot does not change");
}

#[test]
fn a_refused_publication_leaves_the_last_good_policy() {
    let engine = YamlPolicy::from_yaml("base", ALLOW).unwrap();
    let before = engine.snapshot().id().clone();
    let bad =
        Bundle::parse("sre/x", Origin::Pack, "rules: [{ decision: allow, match: { topics: [job.other.x] } }]").unwrap();
    assert_eq!(engine.publish([bad]).unwrap_err().0[0].code(), "policy_out_of_scope");
    assert_eq!(*engine.snapshot().id(), before);
}

#[test]
fn publishing_the_same_again_gives_the_same_id() {
    let engine = YamlPolicy::from_yaml("base", ALLOW).unwrap();
    let before = engine.snapshot().id().clone();
    assert_eq!(engine.publish([Bundle::parse("base", Origin::Base, ALLOW).unwrap()]).unwrap(), before);
}

#[test]
fn publishing_keeps_what_holds_where_no_rule_matches() {
    let engine = YamlPolicy::new(PolicySet::new().on_no_match(OnNoMatch::Allow).compile().unwrap());
    engine.publish([]).unwrap();
    assert_eq!(outcome(&engine, "job.a"), Outcome::Allow);
}

#[test]
fn w24_a_bundle_that_breaks_keeps_its_last_good_version() {
    let set = |sre: &str| PolicySet::new().source("base", Origin::Base, ALLOW).source("sre/x", Origin::Pack, sre);
    let engine = YamlPolicy::new(set("rules: [{ id: ask, decision: require_approval }]").compile().unwrap());
    let published = engine.publish_lenient(set("rules: ["));
    assert_eq!((published.kept, published.errors.0.len()), (vec!["sre/x".to_owned()], 1));
    assert_eq!(published.before, published.after);
    assert_eq!(outcome(&engine, "job.sre.a"), Outcome::RequireApproval);
    assert_eq!(outcome(&engine, "job.a"), Outcome::Allow);
}

#[test]
fn w24_a_bundle_that_was_never_good_stays_closed_until_repaired() {
    let set = |sre: &str| PolicySet::new().source("base", Origin::Base, ALLOW).source("sre/x", Origin::Pack, sre);
    let engine = YamlPolicy::from_yaml("base", ALLOW).unwrap();
    for _ in 0..2 {
        let published = engine.publish_lenient(set("rules: ["));
        assert_eq!(published.quarantined, ["sre/x"], "a stand-in is never taken for a good version");
        assert_eq!(outcome(&engine, "job.sre.a"), Outcome::Deny);
    }
    let published = engine.publish_lenient(set("rules: [{ decision: throttle }]"));
    assert!(published.errors.is_empty() && published.quarantined.is_empty());
    assert_eq!(outcome(&engine, "job.sre.a"), Outcome::Throttle);
}

#[test]
fn files_and_directories_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("a.yaml", "rules: [{ id: a, decision: allow, match: { topics: [job.a] } }]");
    write("b.json", r#"{"rules": [{"id": "b", "decision": "deny", "match": {"topics": ["job.b"]}}]}"#);
    write(".hidden.yaml", "rules: [");
    write("notes.txt", "rules: [");
    let engine = YamlPolicy::from_dir(dir.path()).unwrap();
    assert_eq!((outcome(&engine, "job.a"), outcome(&engine, "job.b")), (Outcome::Allow, Outcome::Deny));

    write("c.yaml", "rules: [{ decision: alow }]");
    let errors = YamlPolicy::from_files([dir.path().join("c.yaml"), dir.path().join("missing.yaml")]).unwrap_err();
    let codes: Vec<_> = errors.iter().map(|error| error.code).collect();
    assert_eq!(codes, [ErrorCode::UnknownDecision, ErrorCode::Unreadable]);
    assert!(errors.to_string().contains("c.yaml:1:"), "{errors}");
}

#[test]
fn an_empty_or_missing_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("nowhere")] {
        assert_eq!(YamlPolicy::from_dir(path).unwrap_err().0[0].code, ErrorCode::Unreadable);
    }
}

#[test]
fn the_shipped_profiles_say_what_they_do() {
    let decide = |engine: &YamlPolicy, topic: &str| engine.current().decide(&ask(topic).request());
    let dev = YamlPolicy::development().unwrap();
    let allowed = decide(&dev, "job.any.thing");
    assert_eq!((allowed.outcome, &*allowed.reason), (Outcome::Allow, "no rule matched (development default)"));
    assert_eq!(decide(&dev, "sys.x").outcome, Outcome::Deny);
    assert!(allowed.snapshot.starts_with("dev:"));
    let strict = YamlPolicy::strict().unwrap();
    let denied = decide(&strict, "job.any.thing");
    assert_eq!((denied.outcome, &*denied.reason), (Outcome::Deny, "no rule matched (strict profile)"));
}

fn version(engine: &YamlPolicy) -> String {
    engine.current().id().split(':').next().unwrap().to_owned()
}

#[test]
fn w24_files_are_read_again_when_they_change_and_a_broken_one_keeps_its_last_good_version() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("a.yaml", "version: v1\nrules: [{ id: a, decision: allow, match: { topics: [job.a] } }]");
    write("b.yaml", "rules: [{ id: b, decision: allow, match: { topics: [job.b] } }]");
    let engine = YamlPolicy::strict().unwrap();
    let mut files = PolicyFiles::in_dir(dir.path(), Trust::Anyone);
    let first = files.reload(&engine).unwrap();
    assert!(first.errors.is_empty() && first.before != first.after);
    assert!(files.reload(&engine).is_none(), "nothing changed");

    write("a.yaml", "version: v2\nrules: [");
    write("b.yaml", "rules: [{ id: b, decision: throttle, match: { topics: [job.b] } }]");
    let second = files.reload(&engine).unwrap();
    assert_eq!((second.kept.len(), second.errors.0.len(), version(&engine)), (1, 1, "v1".to_owned()));
    assert_eq!((outcome(&engine, "job.a"), outcome(&engine, "job.b")), (Outcome::Allow, Outcome::Throttle));
    assert!(files.reload(&engine).is_none(), "the same mistake is told once");

    write("a.yaml", "version: v3\nrules: [{ id: a, decision: allow, match: { topics: [job.a] } }]");
    fs::remove_file(dir.path().join("b.yaml")).unwrap();
    assert!(files.reload(&engine).unwrap().errors.is_empty());
    assert_eq!((version(&engine), outcome(&engine, "job.b")), ("v3".to_owned(), Outcome::Deny));
}

#[test]
fn w23_a_directory_that_goes_away_changes_nothing_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("policy");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("a.yaml"), ALLOW).unwrap();
    let engine = YamlPolicy::strict().unwrap();
    let mut files = PolicyFiles::in_dir(&inner, Trust::Anyone);
    files.reload(&engine).unwrap();
    fs::rename(&inner, dir.path().join("elsewhere")).unwrap();
    let lost = files.reload(&engine).unwrap();
    assert_eq!((lost.errors.0[0].code, lost.before == lost.after), (ErrorCode::Unreadable, true));
    assert_eq!(outcome(&engine, "job.a"), Outcome::Allow);
    assert!(files.reload(&engine).is_none());
    fs::rename(dir.path().join("elsewhere"), &inner).unwrap();
    let found = files.reload(&engine).unwrap();
    assert!(found.errors.is_empty(), "it is taken up again, without a restart");
}

#[cfg(feature = "signatures")]
#[test]
fn w29_files_have_their_signature_beside_them() {
    use crate::PublicKey;
    use ed25519_dalek::{Signer as _, SigningKey};

    let dir = tempfile::tempdir().unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::parse("key", &hex(key.verifying_key().as_bytes())).unwrap();
    let trust = Trust::Keys { keys: vec![public], required: true };
    let path = dir.path().join("safety.yaml");
    let sign = |text: &str| {
        fs::write(dir.path().join("safety.yaml.sig"), hex(&key.sign(text.as_bytes()).to_bytes()) + "\n").unwrap()
    };
    fs::write(&path, ALLOW).unwrap();
    let engine = YamlPolicy::strict().unwrap();
    let mut files = PolicyFiles::of([&path], trust);
    assert_eq!(files.reload(&engine).unwrap().errors.0[0].code, ErrorCode::Unsigned);
    assert_eq!(outcome(&engine, "job.a"), Outcome::Deny);
    sign(ALLOW);
    assert!(files.reload(&engine).unwrap().errors.is_empty(), "a signature that comes later is seen");
    assert_eq!(outcome(&engine, "job.a"), Outcome::Allow);
    fs::write(&path, format!("{ALLOW} # slightly other")).unwrap();
    assert_eq!(files.reload(&engine).unwrap().errors.0[0].code, ErrorCode::BadSignature);
    assert_eq!(outcome(&engine, "job.a"), Outcome::Allow, "the last good version stays");
}
