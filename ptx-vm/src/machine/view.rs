//! What a warp knows to have happened: vector clocks.
//!
//! Every warp of a cluster, and every transaction barrier, is an *agent* with a counter. An access is stamped with its
//! agent's counter; it happened before an observer if the observer's view of that agent has reached the stamp.
//! `fenced` is the same for what the asynchronous proxy may see: it trails `clock` until a proxy fence.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Views of other clusters' agents, by cluster.
pub(crate) type Foreign = BTreeMap<u32, Vec<u32>>;

/// A vector clock, its proxy-fenced part, and what is known of other clusters.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub clock: Vec<u32>,
    pub fenced: Vec<u32>,
    pub foreign: Option<Arc<Foreign>>,
}

fn raise(into: &mut Vec<u32>, from: &[u32]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    for (mine, &theirs) in into.iter_mut().zip(from) {
        *mine = (*mine).max(theirs);
    }
}

impl View {
    /// The view of agent `me` at the start: it knows of its own first moment only.
    pub fn start(agents: usize, me: usize) -> Self {
        let mut clock = vec![0; agents];
        clock[me] = 1;
        Self { clock, fenced: vec![0; agents], foreign: None }
    }

    #[inline(always)]
    pub fn of(&self, agent: usize) -> u32 {
        self.clock.get(agent).copied().unwrap_or(0)
    }

    pub fn fenced_of(&self, agent: usize) -> u32 {
        self.fenced.get(agent).copied().unwrap_or(0)
    }

    pub fn join(&mut self, other: &Self) {
        raise(&mut self.clock, &other.clock);
        raise(&mut self.fenced, &other.fenced);
        self.join_foreign(other.foreign.as_ref());
    }

    pub fn join_foreign(&mut self, other: Option<&Arc<Foreign>>) {
        let Some(theirs) = other else { return };
        match &mut self.foreign {
            None => self.foreign = Some(Arc::clone(theirs)),
            Some(mine) if Arc::ptr_eq(mine, theirs) => {}
            Some(mine) => {
                let mine = Arc::make_mut(mine);
                for (&unit, clock) in theirs.iter() {
                    raise(mine.entry(unit).or_default(), clock);
                }
            }
        }
    }

    /// What another cluster learns from this view: everything known here, own agents under `unit`.
    pub fn exported(&self, unit: u32) -> Arc<Foreign> {
        let mut all = self.foreign.as_deref().cloned().unwrap_or_default();
        raise(all.entry(unit).or_default(), &self.clock);
        Arc::new(all)
    }

    /// Whether an access by another cluster's agent is known to have happened.
    pub fn knows_foreign(&self, unit: u32, agent: usize, stamp: u32) -> bool {
        self.foreign
            .as_ref()
            .and_then(|f| f.get(&unit))
            .and_then(|clock| clock.get(agent))
            .is_some_and(|&seen| seen >= stamp)
    }

    /// Ends the agent's current moment: later accesses are told apart from earlier ones.
    pub fn tick(&mut self, me: usize) {
        self.clock[me] += 1;
    }

    /// A proxy fence: everything known now is visible to the asynchronous proxy.
    pub fn fence_proxy(&mut self, me: usize) {
        let clock = std::mem::take(&mut self.clock);
        raise(&mut self.fenced, &clock);
        self.clock = clock;
        self.tick(me);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_orders_what_came_before_and_not_what_comes_after() {
        let (mut a, mut b) = (View::start(2, 0), View::start(2, 1));
        let before = a.of(0);
        let published = a.clone();
        a.tick(0);
        b.join(&published);
        assert!(b.of(0) >= before);
        assert!(b.of(0) < a.of(0));
    }

    #[test]
    fn knowledge_of_other_clusters_travels_on() {
        let a = View::start(1, 0);
        let mut b = View::start(1, 0);
        b.join_foreign(Some(&a.exported(7)));
        let mut c = View::start(1, 0);
        c.join_foreign(Some(&b.exported(8)));
        assert!(c.knows_foreign(7, 0, 1) && c.knows_foreign(8, 0, 1));
        assert!(!c.knows_foreign(7, 0, 2));
    }
}
