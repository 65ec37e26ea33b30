package acceleration

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// pattern is what the two ends of one connection do. It follows from the seed alone.
type pattern struct {
	seed uint64
	// rounds of question and answer come first: they tell that each end has accepted, and are long enough to be accelerated.
	rounds []round
	up     direction
	down   direction
	// resetBy says who resets in the middle instead of closing in order: 0 nobody, 1 the client, 2 the server.
	resetBy int
	resetAt int
}

type round struct{ question, answer int }

// direction is one end's sending.
type direction struct {
	total    int
	maxChunk int // chunks of 1 to so many bytes
	maxRead  int // reads of so many bytes
	pauses   int // a pause about every so many chunks; 0: none
	slow     int // the reader pauses about every so many reads; 0: never
	sendBy   sendBy
	splices  bool // the reader, where it may
}

// sendBy is a way to send.
type sendBy uint8

const (
	byWrite sendBy = iota
	byWritev
	bySendfile
	waysToSend
)

func newPattern(seed uint64) pattern {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := pattern{seed: seed}
	small := rnd.IntN(8) > 0
	for range rnd.IntN(4) + rnd.IntN(8)/7*20 {
		p.rounds = append(p.rounds, round{1 + rnd.IntN(600), 1 + rnd.IntN(1+rnd.IntN(4000))})
	}
	p.up, p.down = newDirection(rnd, small), newDirection(rnd, small)
	if rnd.IntN(10) == 0 {
		p.resetBy = 1 + rnd.IntN(2)
		p.resetAt = rnd.IntN(1 + max(p.up.total, p.down.total))
	}
	return p
}

// newDirection gives small ones, which make many connections cheap, and such that exceed every limit.
func newDirection(rnd *rand.Rand, small bool) direction {
	if small {
		return direction{
			total: rnd.IntN(3000), maxChunk: 1 + rnd.IntN(1500), maxRead: 1 + rnd.IntN(4000), sendBy: sendBy(rnd.IntN(20) / 19),
		}
	}
	d := direction{maxChunk: 1 << rnd.IntN(18), maxRead: 1 << rnd.IntN(18), sendBy: sendBy(rnd.IntN(int(waysToSend)))}
	d.splices = rnd.IntN(4) == 0
	chunks := 1 << rnd.IntN(6)
	if rnd.IntN(20) == 0 {
		chunks *= 8
	}
	d.total = rnd.IntN(min(chunks*d.maxChunk, 4<<20) + 1)
	d.maxRead = max(d.maxRead, d.total>>12) // no more than some thousand reads
	if rnd.IntN(4) == 0 {
		d.pauses = 1 + rnd.IntN(16)
	}
	if rnd.IntN(8) == 0 {
		d.slow = 1 + rnd.IntN(16)
	}
	return d
}

// fill writes the payload of a stream from offset at on: every eight bytes say where they belong.
func fill(p []byte, key uint64, at int) {
	var word [8]byte
	for i := 0; i < len(p); {
		n := (at + i) / 8
		binary.LittleEndian.PutUint64(word[:], key^uint64(n)*0x9e3779b97f4a7c15)
		i += copy(p[i:], word[(at+i)%8:])
	}
}

// sender sends a direction's payload; stop, when not negative, is where it ends.
func (d direction) send(c *net.TCPConn, key uint64, stop int, rnd *rand.Rand) error {
	buf := make([]byte, d.maxChunk)
	way := d.sendBy.open()
	defer way.close()
	for at := 0; at < d.total && (stop < 0 || at < stop); {
		n := min(1+rnd.IntN(d.maxChunk), d.total-at)
		fill(buf[:n], key, at)
		if err := way.send(c, buf[:n]); err != nil {
			return err
		}
		at += n
		pause(rnd, d.pauses)
	}
	return nil
}

// pause waits a little about every so many calls; that is the pattern, nothing is waited for.
func pause(rnd *rand.Rand, every int) {
	if every > 0 && rnd.IntN(every) == 0 {
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Microsecond)
	}
}

// receive reads until the end and checks every byte. It gives how many came.
func (d direction) receive(c io.Reader, key uint64, rnd *rand.Rand) (at int, err error) {
	buf, want := make([]byte, d.maxRead), make([]byte, d.maxRead)
	for {
		n, err := c.Read(buf)
		fill(want[:n], key, at)
		if string(buf[:n]) != string(want[:n]) {
			return at, fmt.Errorf("%w: %d bytes at %d of %d", errPayload, n, at, d.total)
		}
		at += n
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return at, err
		}
		pause(rnd, d.slow)
	}
}

var errPayload = errors.New("other bytes than were sent")

// end is one application.
type end struct {
	c       *net.TCPConn
	out, in direction
	outKey  uint64
	inKey   uint64
	reset   bool
	resetAt int
	splices bool
	seed    uint64
}

// client and server are the two ends of a pattern; spliceable tells that they may read by splice.
func (p pattern) client(c *net.TCPConn, spliceable bool) end {
	return end{c, p.up, p.down, p.seed, ^p.seed, p.resetBy == 1, p.resetAt, spliceable && p.down.splices, p.seed}
}

func (p pattern) server(c *net.TCPConn, spliceable bool) end {
	return end{c, p.down, p.up, ^p.seed, p.seed, p.resetBy == 2, p.resetAt, spliceable && p.up.splices, p.seed}
}

// run sends, half-closes and reads until the other end has.
func (e end) run() error {
	defer e.c.Close()
	stop := -1
	if e.reset {
		stop = e.resetAt
	}
	var sending sync.WaitGroup
	var sendErr error
	sending.Go(func() {
		sendErr = e.out.send(e.c, e.outKey, stop, rand.New(rand.NewPCG(e.seed, e.outKey)))
		if e.reset {
			_ = e.c.SetLinger(0)
			_ = e.c.Close()
		} else if sendErr == nil {
			sendErr = e.c.CloseWrite()
		}
	})
	var from io.Reader = e.c
	if e.splices {
		s := newSplicer(e.c)
		defer s.close()
		from = s
	}
	got, err := e.in.receive(from, e.inKey, rand.New(rand.NewPCG(e.seed, e.inKey)))
	sending.Wait()
	if err == nil && got != e.in.total {
		err = fmt.Errorf("the stream ended at %d of %d", got, e.in.total)
	}
	return errors.Join(err, sendErr)
}

// ask and answer take the two ends through the rounds.
func (p pattern) ask(c net.Conn) error {
	for i, r := range p.rounds {
		if err := exchange(c, p.seed+uint64(i), r.question, r.answer, true); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
	}
	return nil
}

func (p pattern) answer(c net.Conn) error {
	for i, r := range p.rounds {
		if err := exchange(c, p.seed+uint64(i), r.question, r.answer, false); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
	}
	return nil
}

func exchange(c net.Conn, key uint64, question, answer int, asks bool) error {
	out, in := make([]byte, question), make([]byte, answer)
	if !asks {
		out, in = in, out
	}
	fill(out, key, 0)
	if asks {
		if _, err := c.Write(out); err != nil {
			return err
		}
	}
	if _, err := io.ReadFull(c, in); err != nil {
		return err
	}
	want := make([]byte, len(in))
	if fill(want, key, 0); string(want) != string(in) {
		return errPayload
	}
	if !asks {
		_, err := c.Write(out)
		return err
	}
	return nil
}
