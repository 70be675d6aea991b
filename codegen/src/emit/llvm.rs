//! A thin layer over LLVM: one [`Emitter`] per module, with a method per instruction that code generation uses.
//!
//! Every arithmetic method works on scalars and on vectors alike. Building an instruction fails only when the builder has
//! no position or when operand types disagree, which no plan can cause; such a failure is a defect of this crate and
//! panics with that sentence. What a plan or the LLVM build *can* cause is an [`EmitError`].

mod arith;
mod flow;
mod machine;

pub use flow::{OpenIf, OpenLoop};
pub use machine::{Machine, assemble, assembly, initialise, object, optimise, run_passes, verify};

use super::EmitError;
use inkwell::AddressSpace;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::builder::{Builder, BuilderError};
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::types::{BasicMetadataTypeEnum, BasicType, BasicTypeEnum, FloatType, IntType, PointerType};
use inkwell::values::{
    BasicMetadataValueEnum, BasicValue, BasicValueEnum, CallSiteValue, FunctionValue, IntValue, VectorValue,
};

/// Any LLVM value: a scalar, a vector, a pointer, a struct.
pub type Value<'c> = BasicValueEnum<'c>;

/// A module under construction and the place where the next instruction goes.
pub struct Emitter<'c> {
    /// Owner of types and constants.
    pub context: &'c Context,
    /// The module.
    pub module: Module<'c>,
    /// Where instructions are appended.
    pub builder: Builder<'c>,
    /// What the module is for.
    pub machine: Machine,
}

/// The value of an instruction that was just built.
#[expect(
    clippy::unreachable,
    reason = "the builder refuses only operands that the emitter itself has made; every instruction goes through here"
)]
fn built<T>(result: Result<T, BuilderError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => unreachable!("instructions are built at a position, from operands that agree: {error}"),
    }
}

impl<'c> Emitter<'c> {
    /// An empty module for a machine.
    ///
    /// # Errors
    /// The linked LLVM lacks the machine's target.
    pub fn new(context: &'c Context, name: &str, machine: Machine) -> Result<Self, EmitError> {
        let target = machine.target_machine()?;
        let module = context.create_module(name);
        module.set_triple(&target.get_triple());
        module.set_data_layout(&target.get_target_data().get_data_layout());
        Ok(Emitter { context, module, builder: context.create_builder(), machine })
    }

    // Types.

    /// `i1`.
    pub fn bool_type(&self) -> IntType<'c> {
        self.context.bool_type()
    }
    /// `i16`.
    pub fn i16_type(&self) -> IntType<'c> {
        self.context.i16_type()
    }
    /// `i32`.
    pub fn i32_type(&self) -> IntType<'c> {
        self.context.i32_type()
    }
    /// `i64`.
    pub fn i64_type(&self) -> IntType<'c> {
        self.context.i64_type()
    }
    /// `float`.
    pub fn f32_type(&self) -> FloatType<'c> {
        self.context.f32_type()
    }
    /// A pointer into an address space (0 generic, on NVPTX 1 global, 3 shared).
    pub fn pointer_type(&self, space: u16) -> PointerType<'c> {
        self.context.ptr_type(AddressSpace::from(space))
    }
    /// `element` itself for one lane, else a vector of it.
    #[expect(clippy::unreachable, reason = "scalar types are the only ones that lanes are asked of")]
    pub fn lanes_of(&self, element: BasicTypeEnum<'c>, lanes: u32) -> BasicTypeEnum<'c> {
        match (lanes, element) {
            (1, _) => element,
            (_, BasicTypeEnum::IntType(t)) => t.vec_type(lanes).into(),
            (_, BasicTypeEnum::FloatType(t)) => t.vec_type(lanes).into(),
            (_, BasicTypeEnum::PointerType(t)) => t.vec_type(lanes).into(),
            _ => unreachable!("vectors hold integers, floats or pointers"),
        }
    }
    /// Lanes of a value: 1 unless it is a vector.
    pub fn lanes(&self, value: Value<'c>) -> u32 {
        match value {
            BasicValueEnum::VectorValue(v) => v.get_type().get_size(),
            _ => 1,
        }
    }
    /// `element` with as many lanes as `like`.
    fn shaped_like(&self, element: BasicTypeEnum<'c>, like: Value<'c>) -> BasicTypeEnum<'c> {
        self.lanes_of(element, self.lanes(like))
    }

    // Constants.

    /// An `i1`.
    pub fn bool(&self, value: bool) -> Value<'c> {
        self.bool_type().const_int(value.into(), false).into()
    }
    /// An `i32`.
    pub fn i32(&self, value: i32) -> Value<'c> {
        self.i32_type().const_int(value as u32 as u64, false).into()
    }
    /// An `i64`.
    pub fn i64(&self, value: i64) -> Value<'c> {
        self.i64_type().const_int(value as u64, false).into()
    }
    /// An integer constant of any width, as a value of the same shape as `like`.
    pub fn int_like(&self, like: Value<'c>, value: i64) -> Value<'c> {
        match like {
            BasicValueEnum::VectorValue(v) => {
                let element = v.get_type().get_element_type().into_int_type();
                self.splat(element.const_int(value as u64, true).into(), v.get_type().get_size())
            }
            other => other.into_int_value().get_type().const_int(value as u64, true).into(),
        }
    }
    /// A `float`.
    pub fn f32(&self, value: f32) -> Value<'c> {
        self.f32_type().const_float(value.into()).into()
    }
    /// A `float` constant with as many lanes as `like`.
    pub fn f32_like(&self, like: Value<'c>, value: f32) -> Value<'c> {
        self.splat(self.f32(value), self.lanes(like))
    }

    // Vectors.

    /// The same value in every lane.
    pub fn splat(&self, value: Value<'c>, lanes: u32) -> Value<'c> {
        if lanes == 1 || value.is_vector_value() {
            return value;
        }
        let poison = self.lanes_of(value.get_type(), lanes).into_vector_type().get_poison();
        let first = built(self.builder.build_insert_element(poison, value, self.i32_type().const_zero(), ""));
        let mask = self.i32_type().vec_type(lanes).const_zero();
        built(self.builder.build_shuffle_vector(first, poison, mask, "")).into()
    }
    /// `<0, step, 2 step, ...>` of `i32`.
    pub fn ramp(&self, step: i32, lanes: u32) -> Value<'c> {
        let values: Vec<_> = (0..lanes).map(|i| self.i32(i as i32 * step).into_int_value()).collect();
        if lanes == 1 { self.i32(0) } else { inkwell::types::VectorType::const_vector(&values).into() }
    }
    /// One lane.
    pub fn extract(&self, value: Value<'c>, lane: u32) -> Value<'c> {
        match value {
            BasicValueEnum::VectorValue(v) => {
                built(self.builder.build_extract_element(v, self.i32(lane as i32).into_int_value(), ""))
            }
            scalar => scalar,
        }
    }
    /// A vector of the given scalars.
    pub fn gather_lanes(&self, scalars: &[Value<'c>]) -> Value<'c> {
        if let [one] = scalars {
            return *one;
        }
        let ty = self.lanes_of(scalars[0].get_type(), scalars.len() as u32).into_vector_type();
        let mut vector = ty.get_poison();
        for (lane, scalar) in scalars.iter().enumerate() {
            let lane = self.i32(lane as i32).into_int_value();
            vector = built(self.builder.build_insert_element(vector, *scalar, lane, ""));
        }
        vector.into()
    }
    /// The lanes of `a` followed by those of `b`, picked by index.
    pub fn shuffle(&self, a: Value<'c>, b: Value<'c>, pick: &[u32]) -> Value<'c> {
        let mask: Vec<_> = pick.iter().map(|i| self.i32(*i as i32).into_int_value()).collect();
        let mask: VectorValue<'c> = inkwell::types::VectorType::const_vector(&mask);
        built(self.builder.build_shuffle_vector(a.into_vector_value(), b.into_vector_value(), mask, "")).into()
    }

    // Memory.

    /// `pointer + bytes`; the offset is an `i64`.
    pub fn offset(&self, pointer: Value<'c>, bytes: Value<'c>) -> Value<'c> {
        // SAFETY: `getelementptr i8` without `inbounds` is defined for every offset.
        let moved = unsafe {
            self.builder.build_gep(self.context.i8_type(), pointer.into_pointer_value(), &[bytes.into_int_value()], "")
        };
        built(moved).into()
    }
    /// The value of a type at a pointer. `align` in bytes.
    pub fn load(&self, ty: BasicTypeEnum<'c>, pointer: Value<'c>, align: u32) -> Value<'c> {
        let value = built(self.builder.build_load(ty, pointer.into_pointer_value(), ""));
        if let Some(load) = value.as_instruction_value() {
            // An alignment that is no power of two cannot be expressed; the default is then right, if slower.
            let _ = load.set_alignment(align);
        }
        value
    }
    /// Stores a value at a pointer. `align` in bytes.
    pub fn store(&self, value: Value<'c>, pointer: Value<'c>, align: u32) {
        let store = built(self.builder.build_store(pointer.into_pointer_value(), value));
        let _ = store.set_alignment(align);
    }
    /// Has the line at a pointer brought into the second-level cache; any address will do.
    ///
    /// # Errors
    /// The linked LLVM has no such intrinsic.
    pub fn prefetch(&self, pointer: Value<'c>) -> Result<(), EmitError> {
        // For reading; locality 2 of 0 to 3; data.
        let arguments = [pointer, self.i32(0), self.i32(2), self.i32(1)];
        self.intrinsic("llvm.prefetch", &[pointer.get_type()], &arguments).map(|_| ())
    }
    /// A pointer as an integer (`i64`).
    pub fn address(&self, pointer: Value<'c>) -> Value<'c> {
        built(self.builder.build_ptr_to_int(pointer.into_pointer_value(), self.i64_type(), "")).into()
    }
    /// An integer (`i64`) as a pointer into an address space.
    pub fn pointer(&self, address: Value<'c>, space: u16) -> Value<'c> {
        built(self.builder.build_int_to_ptr(address.into_int_value(), self.pointer_type(space), "")).into()
    }

    // Functions.

    /// A function without a body; the caller positions the builder.
    pub fn function(
        &self,
        name: &str,
        parameters: &[BasicMetadataTypeEnum<'c>],
        result: Option<BasicTypeEnum<'c>>,
        attributes: &[(&str, &str)],
    ) -> FunctionValue<'c> {
        let ty = match result {
            Some(ty) => ty.fn_type(parameters, false),
            None => self.context.void_type().fn_type(parameters, false),
        };
        let function = self.module.add_function(name, ty, None);
        for (key, value) in attributes {
            function.add_attribute(AttributeLoc::Function, self.context.create_string_attribute(key, value));
        }
        function.add_attribute(AttributeLoc::Function, self.flag("nounwind"));
        function
    }
    /// An attribute without a value.
    pub fn flag(&self, name: &str) -> Attribute {
        self.context.create_enum_attribute(Attribute::get_named_enum_kind_id(name), 0)
    }
    /// The function under construction.
    #[expect(clippy::unreachable, reason = "the builder stands in a block of a function from its first instruction on")]
    pub fn current_function(&self) -> FunctionValue<'c> {
        match self.builder.get_insert_block().and_then(|block| block.get_parent()) {
            Some(function) => function,
            None => unreachable!("instructions are built inside a function"),
        }
    }
    /// Parameter `index` of the function under construction.
    #[expect(clippy::unreachable, reason = "the emitter made the function with these parameters")]
    pub fn parameter(&self, index: u32) -> Value<'c> {
        match self.current_function().get_nth_param(index) {
            Some(value) => value,
            None => unreachable!("functions are used with the parameters they were made with"),
        }
    }
    /// Calls a function.
    pub fn call(&self, function: FunctionValue<'c>, arguments: &[Value<'c>]) -> CallSiteValue<'c> {
        let arguments: Vec<BasicMetadataValueEnum<'c>> = arguments.iter().map(|x| (*x).into()).collect();
        built(self.builder.build_call(function, &arguments, ""))
    }
    /// Calls an intrinsic; `overload` are the types that its name is overloaded on.
    ///
    /// # Errors
    /// The linked LLVM has no such intrinsic.
    pub fn intrinsic(
        &self,
        name: &str,
        overload: &[BasicTypeEnum<'c>],
        arguments: &[Value<'c>],
    ) -> Result<CallSiteValue<'c>, EmitError> {
        let declaration = Intrinsic::find(name).and_then(|intrinsic| intrinsic.get_declaration(&self.module, overload));
        match declaration {
            Some(function) => Ok(self.call(function, arguments)),
            None => Err(EmitError::Missing(format!("intrinsic {name}"))),
        }
    }
    /// As [`Self::intrinsic`], for those that return a value.
    ///
    /// # Errors
    /// The linked LLVM has no such intrinsic, or it returns nothing.
    pub fn intrinsic_value(
        &self,
        name: &str,
        overload: &[BasicTypeEnum<'c>],
        arguments: &[Value<'c>],
    ) -> Result<Value<'c>, EmitError> {
        let call = self.intrinsic(name, overload, arguments)?;
        call.try_as_basic_value().basic().ok_or_else(|| EmitError::Missing(format!("value of intrinsic {name}")))
    }
    /// Inline assembly with side effects; convergent, because on a GPU most of it is.
    pub fn assembly(
        &self,
        result: Option<BasicTypeEnum<'c>>,
        arguments: &[Value<'c>],
        text: &str,
        constraints: &str,
    ) -> CallSiteValue<'c> {
        let parameters: Vec<BasicMetadataTypeEnum<'c>> = arguments.iter().map(|x| x.get_type().into()).collect();
        let ty = match result {
            Some(ty) => ty.fn_type(&parameters, false),
            None => self.context.void_type().fn_type(&parameters, false),
        };
        let asm = self.context.create_inline_asm(ty, text.into(), constraints.into(), true, false, None, false);
        let arguments: Vec<BasicMetadataValueEnum<'c>> = arguments.iter().map(|x| (*x).into()).collect();
        let call = built(self.builder.build_indirect_call(ty, asm, &arguments, ""));
        call.add_attribute(AttributeLoc::Function, self.flag("convergent"));
        call.add_attribute(AttributeLoc::Function, self.flag("nounwind"));
        call
    }
    /// Field `index` of a struct value.
    pub fn field(&self, value: Value<'c>, index: u32) -> Value<'c> {
        built(self.builder.build_extract_value(value.into_struct_value(), index, ""))
    }
    /// `ret void`.
    pub fn ret(&self) {
        built(self.builder.build_return(None));
    }
    /// `ret value`.
    pub fn ret_value(&self, value: Value<'c>) {
        built(self.builder.build_return(Some(&value)));
    }
}

/// A scalar or vector condition, for the two shapes that LLVM's C interface distinguishes.
enum Condition<'c> {
    Scalar(IntValue<'c>),
    Lanes(VectorValue<'c>),
}

fn condition(value: Value<'_>) -> Condition<'_> {
    match value {
        BasicValueEnum::VectorValue(v) => Condition::Lanes(v),
        other => Condition::Scalar(other.into_int_value()),
    }
}
