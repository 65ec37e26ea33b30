package intercept

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/cilium/ebpf/ringbuf"
)

// wireStranger is struct weir_stranger of bpf/types.h.
type wireStranger struct {
	Netns, At    uint64
	Task, Unused uint32
}

// Stranger is a task of a captured cgroup that has connected from a network namespace without capture sockets, where a rule
// captures: the fail policy has decided.
type Stranger struct {
	// Netns is the namespace's cookie.
	Netns uint64
	// Task is a thread id in the initial pid namespace. It may have ended, or have gone elsewhere.
	Task int
}

// Strangers are the tasks that Interceptor.Strangers tells of.
type Strangers struct {
	reader *ringbuf.Reader
	done   sync.WaitGroup
}

// Strangers calls told with each task of a captured cgroup that connects from a network namespace without capture sockets, at most
// once in 100 ms for each namespace, on a goroutine that Close waits for.
func (i *Interceptor) Strangers(told func(Stranger)) (*Strangers, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil, fmt.Errorf("listen to the kernel: %w", errClosed)
	}
	reader, err := ringbuf.NewReader(i.objects.News)
	if err != nil {
		return nil, fmt.Errorf("listen to the kernel: %w", err)
	}
	s := &Strangers{reader: reader}
	s.done.Go(func() { s.run(told) })
	return s, nil
}

// Close ends the telling. It must be called before the Interceptor is closed, and not by what Strangers was given.
func (s *Strangers) Close() error {
	err := s.reader.Close()
	s.done.Wait()
	return err
}

func (s *Strangers) run(told func(Stranger)) {
	var record ringbuf.Record
	for {
		if err := s.reader.ReadInto(&record); err != nil {
			return // closed
		}
		if len(record.RawSample) < binary.Size(wireStranger{}) {
			continue
		}
		told(Stranger{
			Netns: binary.LittleEndian.Uint64(record.RawSample), Task: int(binary.LittleEndian.Uint32(record.RawSample[16:])),
		})
	}
}
