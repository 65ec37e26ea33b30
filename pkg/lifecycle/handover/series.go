package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Series is what one process tells another of a counter or a gauge; see the package stats, which this one does not know.
type Series struct {
	Counter bool
	// Name is the full dotted name, of at most maxName bytes; longer ones are not told.
	Name string
	// Value is by how much a counter has grown, or the level of a gauge; Unshipped is the part of a counter that the newer process
	// is to ship to sinks.
	Value, Unshipped uint64
}

// Limits of a message with series.
const (
	// maxBatch is how many bytes of series are in one, before they become base64.
	maxBatch = 32 << 10
	maxName  = 8 << 10
)

// Kinds of series in a batch.
const (
	batchCounter = 1
	batchGauge   = 2
)

// batch is series in the form in which they are sent: for each a byte that tells its kind, how many bytes its name has in common with that of
// the series before, how many others follow, these, and the numbers. All numbers are unsigned varints.
type batch struct {
	data []byte
	last string
}

func (b *batch) add(s *Series) {
	common := 0
	for n := min(len(b.last), len(s.Name)); common < n && b.last[common] == s.Name[common]; {
		common++
	}
	kind := byte(batchGauge)
	if s.Counter {
		kind = batchCounter
	}
	b.data = binary.AppendUvarint(append(b.data, kind), uint64(common))
	b.data = binary.AppendUvarint(b.data, uint64(len(s.Name)-common))
	b.data = append(b.data, s.Name[common:]...)
	b.data = binary.AppendUvarint(b.data, s.Value)
	if s.Counter {
		b.data = binary.AppendUvarint(b.data, s.Unshipped)
	}
	b.last = s.Name
}

func (b *batch) reset() { b.data, b.last = b.data[:0], "" }

// readBatch gives the series of a batch.
func readBatch(data []byte, give func(*Series)) error {
	r := reader{rest: data}
	var name []byte
	for len(r.rest) > 0 {
		kind := r.rest[0]
		r.rest = r.rest[1:]
		common, more := r.number(), r.number()
		if r.bad || common > uint64(len(name)) || more > uint64(len(r.rest)) || common+more == 0 || common+more > maxName {
			return errors.New("decode series: the name of one is none")
		}
		name = append(name[:common], r.rest[:more]...)
		r.rest = r.rest[more:]
		s := Series{Counter: kind == batchCounter, Name: string(name), Value: r.number()}
		if s.Counter {
			s.Unshipped = r.number()
		}
		if r.bad || kind != batchCounter && kind != batchGauge {
			return fmt.Errorf("decode series: %.200s is of no known kind, or lacks a value", name)
		}
		give(&s)
	}
	return nil
}

// reader reads numbers from what is left of a batch.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}
