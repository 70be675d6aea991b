//! Structured control flow: loops and conditionals that are opened, filled and closed.

use super::{Emitter, Value, built};
use inkwell::IntPredicate;
use inkwell::basic_block::BasicBlock;
use inkwell::values::PhiValue;

/// A counting loop whose body is being built.
#[must_use = "a loop that is opened must be closed"]
pub struct OpenLoop<'c> {
    /// The counter in this iteration, of the type of the bounds.
    pub index: Value<'c>,
    /// The carried values at the start of this iteration.
    pub carried: Vec<Value<'c>>,
    counter: PhiValue<'c>,
    phis: Vec<PhiValue<'c>>,
    step: Value<'c>,
    head: BasicBlock<'c>,
    exit: BasicBlock<'c>,
}

/// A conditional of which one branch is being built.
#[must_use = "a conditional that is opened must be closed"]
pub struct OpenIf<'c> {
    otherwise: BasicBlock<'c>,
    end: BasicBlock<'c>,
    then: Option<(BasicBlock<'c>, Vec<Value<'c>>)>,
}

impl<'c> Emitter<'c> {
    /// A new block at the end of the function under construction.
    pub fn block(&self, name: &str) -> BasicBlock<'c> {
        self.context.append_basic_block(self.current_function(), name)
    }
    /// The block that is being filled.
    #[expect(clippy::unreachable, reason = "the builder stands in a block from its first instruction on")]
    pub fn current_block(&self) -> BasicBlock<'c> {
        match self.builder.get_insert_block() {
            Some(block) => block,
            None => unreachable!("instructions are built in a block"),
        }
    }
    /// Continues at the end of a block.
    pub fn position(&self, block: BasicBlock<'c>) {
        self.builder.position_at_end(block);
    }
    /// Jumps.
    pub fn branch(&self, to: BasicBlock<'c>) {
        built(self.builder.build_unconditional_branch(to));
    }
    /// Jumps by a scalar condition.
    pub fn branch_if(&self, condition: Value<'c>, then: BasicBlock<'c>, otherwise: BasicBlock<'c>) {
        built(self.builder.build_conditional_branch(condition.into_int_value(), then, otherwise));
    }
    /// A phi in the current block that already knows its first incoming value.
    pub fn phi(&self, value: Value<'c>, from: BasicBlock<'c>) -> PhiValue<'c> {
        let phi = built(self.builder.build_phi(value.get_type(), ""));
        phi.add_incoming(&[(&value, from)]);
        phi
    }

    /// Opens `for index = lo; index < hi; index += step` (signed), with values carried from iteration to iteration.
    pub fn begin_loop(&self, lo: Value<'c>, hi: Value<'c>, step: i64, carried: &[Value<'c>]) -> OpenLoop<'c> {
        let before = self.current_block();
        let (head, body, exit) = (self.block("head"), self.block("body"), self.block("exit"));
        self.branch(head);
        self.position(head);
        let counter = self.phi(lo, before);
        let phis: Vec<_> = carried.iter().map(|value| self.phi(*value, before)).collect();
        let index = counter.as_basic_value();
        self.branch_if(self.icmp(IntPredicate::SLT, index, hi), body, exit);
        self.position(body);
        let step = self.int_like(lo, step);
        OpenLoop { index, carried: phis.iter().map(|p| p.as_basic_value()).collect(), counter, phis, step, head, exit }
    }
    /// Closes a loop with the carried values of the next iteration; gives their values after the loop.
    pub fn end_loop(&self, open: OpenLoop<'c>, next: &[Value<'c>]) -> Vec<Value<'c>> {
        debug_assert_eq!(next.len(), open.phis.len());
        let latch = self.current_block();
        let index = self.add(open.index, open.step);
        self.branch(open.head);
        open.counter.add_incoming(&[(&index, latch)]);
        for (phi, value) in open.phis.iter().zip(next) {
            phi.add_incoming(&[(value, latch)]);
        }
        self.position(open.exit);
        open.carried
    }

    /// Builds `while go_on(value) { value = body(value) }`, beginning with `first`.
    ///
    /// # Errors
    /// What the body gives.
    pub fn repeat<E>(
        &self,
        first: Value<'c>,
        go_on: impl FnOnce(Value<'c>) -> Value<'c>,
        body: impl FnOnce(Value<'c>) -> Result<Value<'c>, E>,
    ) -> Result<(), E> {
        let before = self.current_block();
        let (head, inner, exit) = (self.block("head"), self.block("body"), self.block("exit"));
        self.branch(head);
        self.position(head);
        let phi = self.phi(first, before);
        let value = phi.as_basic_value();
        self.branch_if(go_on(value), inner, exit);
        self.position(inner);
        let next = body(value)?;
        phi.add_incoming(&[(&next, self.current_block())]);
        self.branch(head);
        self.position(exit);
        Ok(())
    }

    /// Opens a conditional; what is built next happens when the (scalar) condition holds.
    pub fn begin_if(&self, condition: Value<'c>) -> OpenIf<'c> {
        let (then, otherwise, end) = (self.block("then"), self.block("else"), self.block("end"));
        self.branch_if(condition, then, otherwise);
        self.position(then);
        OpenIf { otherwise, end, then: None }
    }
    /// Ends the first branch, which gives `values`; what is built next happens otherwise.
    pub fn begin_else(&self, open: &mut OpenIf<'c>, values: &[Value<'c>]) {
        open.then = Some((self.current_block(), values.to_vec()));
        self.branch(open.end);
        self.position(open.otherwise);
    }
    /// Ends the conditional. With an else branch, `values` are what that branch gives, and the merged values come back.
    pub fn end_if(&self, mut open: OpenIf<'c>, values: &[Value<'c>]) -> Vec<Value<'c>> {
        if open.then.is_none() {
            debug_assert!(values.is_empty(), "only a conditional with both branches gives values");
            self.begin_else(&mut open, &[]);
        }
        let from = self.current_block();
        self.branch(open.end);
        self.position(open.end);
        let Some((then, given)) = open.then else { return Vec::new() };
        given
            .iter()
            .zip(values)
            .map(|(a, b)| {
                let phi = self.phi(*a, then);
                phi.add_incoming(&[(b, from)]);
                phi.as_basic_value()
            })
            .collect()
    }
}
