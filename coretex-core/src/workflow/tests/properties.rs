//! What only this room can see, over the random runs of `tests/engine_properties.rs`.

use std::sync::Arc;

use super::super::{Run, Workflow};
use crate::testing::Rng;

#[path = "../../../tests/simulation/flows.rs"]
mod flows;
#[path = "../../../tests/support/walk.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod walk;

use walk::{Mood, Walk, World};

#[test]
fn what_a_decision_folded_is_the_fold_of_its_events() {
    let world = World::new(Mood::Wild);
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let workflow = Arc::new(Workflow::from_value("flow", flows::workflow(0, &mut rng)).expect("legal"));
        let (mut walk, begun) = Walk::start(&workflow, &world, Mood::Wild, rng.below(8), false);
        let mut adopted = Run::new(workflow.clone());
        adopted.adopt(begun.changes);
        assert!(adopted == walk.run, "seed {seed}");
        walk.finish(&mut rng, |walk, input, transition| {
            adopted.adopt(transition.changes.clone());
            assert!(adopted == walk.run, "seed {seed}: {input:?}\n{adopted:#?}\n{:#?}", walk.run);
            assert_eq!(adopted.next_due(), walk.run.next_due(), "seed {seed}: the timers of both differ");
        });
    }
}
