//! Object files, linked in the running process.

use super::KernelFunction;
use crate::emit::EmitError;
use crate::emit::llvm::initialise;
use llvm_sys::core::LLVMCreateMemoryBufferWithMemoryRangeCopy;
use llvm_sys::error::{LLVMDisposeErrorMessage, LLVMErrorRef, LLVMGetErrorMessage};
use llvm_sys::orc2::lljit::{
    LLVMOrcCreateLLJIT, LLVMOrcDisposeLLJIT, LLVMOrcLLJITAddObjectFile, LLVMOrcLLJITGetMainJITDylib,
    LLVMOrcLLJITLookup, LLVMOrcLLJITRef,
};
use std::ffi::{CStr, CString};

/// Machine code in memory. Its functions live as long as this value.
#[derive(Debug)]
pub struct Linked(LLVMOrcLLJITRef);

// SAFETY: LLVM's LLJIT may be used from any thread, by one at a time for what changes it: that is `new` and `drop`, which have the
// value to themselves. Looking symbols up is locked inside.
unsafe impl Send for Linked {}
// SAFETY: as above.
unsafe impl Sync for Linked {}

impl Linked {
    /// Links object files, as [`assemble`](crate::emit::llvm::assemble) makes them for this processor. What they do not define is looked up in the
    /// process: C's `memset` and its like.
    ///
    /// # Errors
    /// LLVM's words for what is no object file of this processor, or for symbols that are defined twice.
    pub fn new<'a>(objects: impl IntoIterator<Item = &'a [u8]>) -> Result<Linked, EmitError> {
        initialise();
        let mut jit = std::ptr::null_mut();
        // SAFETY: without a builder LLVM takes the defaults for this processor; the result is written if there is no error.
        said(unsafe { LLVMOrcCreateLLJIT(&mut jit, std::ptr::null_mut()) })?;
        let linked = Linked(jit);
        for object in objects {
            // SAFETY: the buffer copies the bytes; adding it hands it over, also when it is refused.
            let added = unsafe {
                let bytes = object.as_ptr().cast();
                let buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(bytes, object.len(), c"kernels".as_ptr());
                LLVMOrcLLJITAddObjectFile(linked.0, LLVMOrcLLJITGetMainJITDylib(linked.0), buffer)
            };
            said(added)?;
        }
        Ok(linked)
    }

    /// The kernel of this symbol; the first call for one of an object's symbols links that object.
    ///
    /// # Errors
    /// There is no such symbol, or its object cannot be linked.
    ///
    /// # Safety
    /// The symbol must be a function of this type.
    pub unsafe fn function(&self, symbol: &str) -> Result<KernelFunction, EmitError> {
        let missing = || EmitError::Llvm(format!("no machine code for {symbol}"));
        let name = CString::new(symbol).map_err(|_| missing())?;
        let mut address = 0;
        // SAFETY: the name ends with a zero byte; the address is written if there is no error.
        said(unsafe { LLVMOrcLLJITLookup(self.0, &mut address, name.as_ptr()) })?;
        if address == 0 {
            return Err(missing());
        }
        // SAFETY: the caller vouches for the type.
        Ok(unsafe { std::mem::transmute::<usize, KernelFunction>(address as usize) })
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        // SAFETY: made by `new`, disposed of once.
        let ended = unsafe { LLVMOrcDisposeLLJIT(self.0) };
        // What could not be given back stays in memory; there is nobody to tell.
        let _ = said(ended);
    }
}

/// An error of LLVM, in its words.
fn said(error: LLVMErrorRef) -> Result<(), EmitError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: taking the message consumes the error; the message is copied before it is disposed of.
    unsafe {
        let message = LLVMGetErrorMessage(error);
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        LLVMDisposeErrorMessage(message);
        Err(EmitError::Llvm(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::llvm::{Machine, assemble};

    /// Assembly of a kernel that writes its first block into its scratch memory, which the caller sees.
    #[cfg(target_arch = "x86_64")]
    const KEEP: &str = "\t.globl keep\n\t.type keep,@function\nkeep:\n\tmovq %rsi, (%rcx)\n\tretq\n";

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn objects_run() {
        let object = assemble(KEEP, Machine::X86_64).expect("assembly");
        let linked = Linked::new([object.as_slice()]).expect("an object");
        // SAFETY: the text above has this type.
        let keep = unsafe { linked.function("keep") }.expect("defined");
        let mut memory = 0i64;
        // SAFETY: writes eight bytes of scratch memory.
        unsafe { keep(std::ptr::null(), 42, 43, (&raw mut memory).cast()) };
        assert_eq!(memory, 42);
        // SAFETY: there is none.
        let unknown = unsafe { linked.function("gone") }.expect_err("not defined").to_string();
        assert!(unknown.contains("gone"), "{unknown}");
    }

    #[test]
    fn other_bytes_are_refused() {
        let refused = Linked::new([b"no object file".as_slice()]).expect_err("no object").to_string();
        assert!(refused.contains("rejected"), "{refused}");
    }
}
