package intercept

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// arena hands out the blocks of weir_arena, which the kernel and this process both have in their memory: writing one takes no
// system call. It is guarded by Interceptor.mu.
//
// A block that is retired may still be in the hands of a program that runs at this moment. It is free only after reclaim, which
// waits until every program that ran has ended.
type arena struct {
	outer  *ebpf.Map
	inner  *ebpf.MapSpec
	chunks []chunk
	// capacity is how many chunks there may be.
	capacity uint32
	// free extents, by their start; neighbours are one extent.
	free []extent
	// limbo is what was retired since the last reclaim.
	limbo []extent
}

type chunk struct {
	blocks *ebpf.Map
	memory []byte
}

// extent is n consecutive blocks.
type extent struct{ start, n uint32 }

// limboBlocks is how many blocks, 4 MB, may be in limbo before alloc waits for them rather than adding to the arena.
const limboBlocks = 16 * chunkBlocks

func newArena(outer *ebpf.Map, inner *ebpf.MapSpec) *arena {
	return &arena{outer: outer, inner: inner, capacity: outer.MaxEntries()}
}

// alloc returns n consecutive blocks, all zero. The error is a *FullError when there are no more.
func (a *arena) alloc(n uint32) (uint32, error) {
	for {
		if at := slices.IndexFunc(a.free, func(e extent) bool { return e.n >= n }); at >= 0 {
			return a.cut(at, n), nil
		}
		// Either way the kernel waits for a grace period. A larger arena has to do so less often: what is in limbo becomes free
		// by and by.
		var noRoom error
		if a.inLimbo() < limboBlocks {
			noRoom = a.grow(n)
		}
		switch {
		case noRoom != nil && len(a.limbo) == 0:
			return 0, noRoom
		case noRoom != nil || a.inLimbo() >= limboBlocks:
			if err := a.reclaim(); err != nil {
				return 0, err
			}
		}
	}
}

// cut takes n blocks from the front of a free extent.
func (a *arena) cut(at int, n uint32) uint32 {
	e := &a.free[at]
	start := e.start
	e.start, e.n = e.start+n, e.n-n
	if e.n == 0 {
		a.free = slices.Delete(a.free, at, at+1)
	}
	for number := start; number < start+n; number++ {
		*a.block(number) = wireBlock{}
	}
	return start
}

// inLimbo is how many blocks there are in limbo.
func (a *arena) inLimbo() (n uint32) {
	for _, e := range a.limbo {
		n += e.n
	}
	return n
}

// retire gives blocks back that no rule, service or table leads to any more.
func (a *arena) retire(e extent) {
	if e.n > 0 {
		a.limbo = append(a.limbo, e)
	}
}

// reclaim waits until every program that runs has ended, and makes free what was retired.
func (a *arena) reclaim() error {
	if err := a.grace(); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	a.release(a.limbo)
	a.limbo = nil
	return nil
}

// release makes extents free at once: for those that no program has got hold of.
func (a *arena) release(extents []extent) {
	all := slices.Concat(a.free, extents)
	slices.SortFunc(all, func(x, y extent) int { return cmp.Compare(x.start, y.start) })
	merged := all[:0]
	for _, e := range all {
		if last := len(merged) - 1; last >= 0 && merged[last].start+merged[last].n == e.start {
			merged[last].n += e.n
			continue
		}
		merged = append(merged, e)
	}
	a.free = merged
}

// grace returns when all programs that run now have ended. The kernel waits for that in every update of a map of maps; this one
// puts in place what is there.
func (a *arena) grace() error {
	if len(a.chunks) == 0 {
		return nil
	}
	return a.outer.Put(uint32(0), a.chunks[0].blocks)
}

// grow adds chunks with room for n consecutive blocks. Block 0 is never handed out.
func (a *arena) grow(n uint32) error {
	first, end := uint32(len(a.chunks)), uint32(len(a.chunks))+(n+chunkBlocks-1)/chunkBlocks
	if first == 0 && n == chunkBlocks {
		end++
	}
	if end > a.capacity {
		return &FullError{Map: "weir_arena", Capacity: a.capacity * chunkBlocks, Err: unix.E2BIG}
	}
	for number := first; number < end; number++ {
		if err := a.addChunk(number); err != nil {
			return full(err, "weir_arena", a.outer)
		}
	}
	return nil
}

func (a *arena) addChunk(number uint32) error {
	blocks, err := ebpf.NewMap(a.inner)
	if err != nil {
		return fmt.Errorf("create chunk of the arena: %w", err)
	}
	size := chunkBlocks * int(a.inner.ValueSize)
	memory, err := unix.Mmap(blocks.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return errors.Join(fmt.Errorf("map chunk of the arena into memory: %w", err), blocks.Close())
	}
	if err := a.outer.Put(number, blocks); err != nil {
		return errors.Join(fmt.Errorf("add chunk to the arena: %w", err), unix.Munmap(memory), blocks.Close())
	}
	a.chunks = append(a.chunks, chunk{blocks, memory})
	e := extent{number << chunkBits, chunkBlocks}
	if number == 0 {
		e = extent{1, chunkBlocks - 1}
	}
	a.release([]extent{e})
	return nil
}

// close gives the memory back. Nothing of the arena may be used afterwards.
func (a *arena) close() error {
	var failed []error
	for _, c := range a.chunks {
		failed = append(failed, unix.Munmap(c.memory), c.blocks.Close())
	}
	a.chunks, a.free, a.limbo = nil, nil, nil
	return errors.Join(failed...)
}
