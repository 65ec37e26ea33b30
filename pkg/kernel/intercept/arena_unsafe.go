package intercept

import (
	"sync/atomic"
	"unsafe"
)

// Views of the arena's memory, which the kernel's programs share. Blocks are 64 bytes, aligned to 64, and their structs have no
// padding. What a program may read at the same time is stored by the atomic operations; a block that no table or rule leads to
// yet is written as ordinary memory, since the store that makes it reachable comes after.

// block is the memory of a block.
func (a *arena) block(number uint32) *wireBlock {
	memory := a.chunks[number>>chunkBits].memory
	return (*wireBlock)(unsafe.Pointer(&memory[int(number&(chunkBlocks-1))*int(unsafe.Sizeof(wireBlock{}))]))
}

func (a *arena) service(number uint32) *wireService {
	return (*wireService)(unsafe.Pointer(a.block(number)))
}

func (a *arena) table(number uint32) *wireTable {
	return (*wireTable)(unsafe.Pointer(a.block(number)))
}

func (a *arena) slots(number uint32) *wireSlots {
	return (*wireSlots)(unsafe.Pointer(a.block(number)))
}

func (a *arena) upstream(number uint32) *wireUpstream {
	return (*wireUpstream)(unsafe.Pointer(a.block(number)))
}

// publish stores what programs follow: everything that was written before is visible to whoever sees it.
func publish(word *uint32, value uint32) { atomic.StoreUint32(word, value) }
