use coretex_core::policy::Outcome;

use super::*;
use crate::{
    Origin,
    testing::{Ask, ask},
};

const ALLOW: &str = "rules: [{ id: all, decision: allow }]";
const DENY: &str = "rules: [{ id: all, decision: deny }]";

fn change(why: &str) -> Change {
    Change::new("ada", why, "2026-11-24T10:00:00Z".parse().unwrap())
}

fn draft(history: &mut History, id: &str, text: &str) {
    history.draft(Source::new(id, Origin::SecOps, text), &Trust::Anyone).unwrap();
}

fn publish(history: &mut History, id: &str, text: &str) -> u64 {
    draft(history, id, text);
    history.publish(&[id], change("because"), &Trust::Anyone).unwrap().number
}

fn outcome(history: &History) -> Outcome {
    ask("job.a").of(&history.compile(&Trust::Anyone).unwrap()).outcome
}

fn code(result: Result<&Publication, BundleErrors>) -> &'static str {
    result.unwrap_err().0[0].code()
}

#[test]
fn a_draft_is_live_only_once_it_is_published() {
    let mut history = History::default();
    publish(&mut history, "secops/a", DENY);
    draft(&mut history, "secops/a", ALLOW);
    assert_eq!(outcome(&history), Outcome::Deny);
    history.publish(&["secops/a"], change("open up"), &Trust::Anyone).unwrap();
    assert_eq!((outcome(&history), history.drafts().count()), (Outcome::Allow, 0));
}

#[test]
fn every_change_says_who_why_when_and_what() {
    let mut history = History::default();
    publish(&mut history, "secops/a", DENY);
    draft(&mut history, "secops/b", ALLOW);
    draft(&mut history, "secops/c", ALLOW);
    let published = history.publish(&["secops/b", "secops/c"], change("more"), &Trust::Anyone).unwrap().clone();
    assert_eq!((published.number, published.action, &*published.change.why), (2, Action::Publish, "more"));
    assert_eq!(published.bundles, ["secops/b", "secops/c"]);
    assert_ne!(published.before, published.after);
    let withdrawn = history.withdraw(&["secops/a"], change("unused"), &Trust::Anyone).unwrap();
    assert_eq!(
        (withdrawn.action, &*withdrawn.bundles, &withdrawn.before),
        (Action::Withdraw, &["secops/a".to_owned()][..], &published.after)
    );
    for nobody in [Change { by: " ".into(), ..change("x") }, change("")] {
        assert_eq!(code(history.withdraw(&["secops/b"], nobody, &Trust::Anyone)), "policy_unexplained");
    }
    assert_eq!(history.publications().count(), 3, "what was refused leaves nothing");
}

#[test]
fn a_rollback_brings_back_what_was_live_and_is_a_change_of_its_own() {
    let mut history = History::default();
    let first = publish(&mut history, "secops/a", DENY);
    let before = history.clone();
    publish(&mut history, "secops/a", ALLOW);
    publish(&mut history, "secops/b", ALLOW);
    let back = history.rollback(first, change("oops"), &Trust::Anyone).unwrap().clone();
    assert_eq!(
        (back.action, back.bundles),
        (Action::Rollback { to: first }, vec!["secops/a".to_owned(), "secops/b".to_owned()])
    );
    assert_eq!(outcome(&history), Outcome::Deny);
    assert!(history.live().eq(before.live()));
    let forth = back.number - 1;
    history.rollback(forth, change("after all"), &Trust::Anyone).unwrap();
    assert_eq!(history.live().count(), 2);
}

#[test]
fn old_publications_are_remembered_and_no_longer_gone_back_to() {
    let mut history = History::default();
    for n in 0..KEPT + 5 {
        publish(&mut history, "secops/a", &format!("version: v{n}\nrules: []"));
    }
    let kept: Vec<_> = history.publications().filter(|one| one.is_kept()).map(|one| one.number).collect();
    assert_eq!(kept, (6..=15).collect::<Vec<_>>());
    assert_eq!(history.publications().count(), 15);
    assert_eq!(code(history.rollback(5, change("x"), &Trust::Anyone)), "policy_unknown_version");
    assert_eq!(code(history.publish(&["secops/none"], change("x"), &Trust::Anyone)), "policy_unknown_version");
    assert_eq!(code(history.withdraw(&["secops/none"], change("x"), &Trust::Anyone)), "policy_unknown_version");
}

#[test]
fn w24_what_is_broken_cannot_become_a_draft_nor_live() {
    let mut history = History::default();
    let mut refused = |id: &str, origin, text: &str| {
        history.draft(Source::new(id, origin, text), &Trust::Anyone).unwrap_err().0[0].code()
    };
    assert_eq!(refused("secops/a", Origin::SecOps, "rules: ["), "policy_syntax");
    assert_eq!(refused("a/x", Origin::Pack, "default_decision: allow"), "policy_out_of_scope");
    assert_eq!(history, History::default());
}

#[test]
fn a_history_survives_being_stored() {
    let mut history = History::new(crate::OnNoMatch::Allow);
    publish(&mut history, "secops/a", DENY);
    draft(&mut history, "secops/a", ALLOW);
    let stored = serde_json::to_string(&history).unwrap();
    let read: History = serde_json::from_str(&stored).unwrap();
    assert_eq!(read, history);
    assert_eq!(read.compile(&Trust::Anyone).unwrap().id(), history.compile(&Trust::Anyone).unwrap().id());
}

#[test]
fn w30_drafts_are_simulated_together_with_what_is_live() {
    let mut history = History::default();
    publish(&mut history, "secops/a", "rules: [{ id: ban, decision: deny, match: { risk_tags: [prod] } }]");
    draft(&mut history, "secops/b", ALLOW);
    draft(&mut history, "secops/c", "rules: [{ id: slow, decision: throttle, match: { tenants: [acme] } }]");
    let asks = [ask("job.a"), ask("job.a").risk(&["prod"]), ask("job.a").tenant("acme")];
    let requests: Vec<_> = asks.iter().map(Ask::request).collect();
    let simulation = history.simulate(&requests, &Trust::Anyone).unwrap();
    let after: Vec<_> = simulation.requests.iter().map(|one| one.after.outcome).collect();
    assert_eq!(after, [Outcome::Allow, Outcome::Deny, Outcome::Throttle]);
    assert_eq!(outcome(&history), Outcome::Deny, "nothing was published");
}

#[cfg(feature = "signatures")]
mod signatures {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn trust(required: bool) -> Trust {
        let key = PublicKey::parse("key", &STANDARD.encode(key(1).verifying_key().as_bytes())).unwrap();
        Trust::Keys { keys: vec![key], required }
    }

    fn signed(source: Source, by: u8) -> Source {
        let signature = key(by).sign(&source.signed_bytes());
        source.signed(STANDARD.encode(signature.to_bytes()))
    }

    fn code(source: &Source, trust: &Trust) -> Option<&'static str> {
        source.read(trust).err().map(|errors| errors.0[0].code())
    }

    #[test]
    fn w29_fragments_are_checked_like_the_operators_file() {
        for (id, origin) in [("safety.yaml", Origin::Base), ("a/x", Origin::Pack), ("secops/x", Origin::SecOps)] {
            let source = Source::new(id, origin, ALLOW);
            assert_eq!(code(&source, &trust(true)), Some("policy_unsigned"));
            assert_eq!(code(&source, &trust(false)), None);
            for required in [true, false] {
                let trust = trust(required);
                assert_eq!(code(&signed(source.clone(), 1), &trust), None);
                assert_eq!(code(&signed(source.clone(), 2), &trust), Some("policy_bad_signature"), "another's key");
                let changed = Source { text: format!("{ALLOW} "), ..signed(source.clone(), 1) };
                assert_eq!(code(&changed, &trust), Some("policy_bad_signature"));
                assert_eq!(code(&source.clone().signed("junk"), &trust), Some("policy_bad_signature"));
            }
        }
    }

    #[test]
    fn w29_a_signature_does_not_move_to_another_id_or_origin() {
        let pack = signed(Source::new("a/x", Origin::Pack, "rules: []"), 1);
        for moved in [
            Source { id: "b/x".into(), ..pack.clone() },
            Source { id: "secops/x".into(), origin: Origin::SecOps, ..pack.clone() },
            Source { origin: Origin::Tenant, ..pack.clone() },
            Source { origin: Origin::Base, ..pack.clone() },
        ] {
            assert_eq!(code(&moved, &trust(true)), Some("policy_bad_signature"), "{moved:?}");
        }
        // The signed form of a pack's bundle as a text of the operator: no document.
        let text = String::from_utf8(pack.signed_bytes()).unwrap();
        let base = Source { id: "base".into(), origin: Origin::Base, text, ..pack };
        assert!(base.read(&trust(true)).unwrap_err().0[0].code() != "policy_bad_signature");
    }

    #[test]
    fn every_flipped_bit_of_a_signature_is_noticed() {
        let source = Source::new("safety.yaml", Origin::Base, ALLOW);
        let signature = key(1).sign(&source.signed_bytes()).to_bytes();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(code(&source.clone().signed(hex(&signature)), &trust(true)), None, "hex is read too");
        for bit in 0..512 {
            let mut flipped = signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                code(&source.clone().signed(hex(&flipped)), &trust(true)),
                Some("policy_bad_signature"),
                "{bit}"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_told() {
        for text in ["", "junk", &"0".repeat(64), &"f".repeat(63)] {
            assert_eq!(PublicKey::parse("key", text).unwrap_err().code(), "policy_bad_signature", "{text}");
        }
    }

    #[test]
    fn w29_a_history_takes_no_unsigned_draft_when_signatures_are_required() {
        let mut history = History::default();
        let errors = history.draft(Source::new("secops/a", Origin::SecOps, ALLOW), &trust(true)).unwrap_err();
        assert_eq!(errors.0[0].code(), "policy_unsigned");
        history.draft(signed(Source::new("secops/a", Origin::SecOps, ALLOW), 1), &trust(true)).unwrap();
        history.publish(&["secops/a"], change("x"), &trust(true)).unwrap();
        assert!(history.compile(&trust(true)).is_ok());
    }
}
