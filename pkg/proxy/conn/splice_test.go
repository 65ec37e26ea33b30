package conn

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/await"
)

// payload is n bytes that tell where they belong.
func payload(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return p
}

func TestSpliceMovesEverything(t *testing.T) {
	src, in := pair(t, "tcp")
	dst, out := pair(t, "tcp")
	want := payload(5<<20 + 12345)
	go func() { // random cuts
		for left := want; len(left) > 0; {
			n := min(1+rand.IntN(300<<10), len(left))
			if _, err := in.Write(left[:n]); err != nil {
				t.Errorf("write: %v", err)
				return
			}
			left = left[n:]
		}
		in.(*net.TCPConn).CloseWrite()
	}()
	got := make(chan []byte, 1)
	go func() {
		_ = out.SetReadDeadline(time.Now().Add(20 * time.Second))
		b, err := io.ReadAll(out)
		if err != nil {
			t.Errorf("read: %v", err)
		}
		got <- b
	}()
	src.Prepend([]byte("ahead"), nil)
	total := 0
	for {
		limit := 1 + rand.Int64N(2*SpliceSize)
		n, _, readErr, writeErr := dst.Splice(src, limit)
		total += n
		if int64(n) > limit || writeErr != nil {
			t.Fatalf("moved %d of at most %d, %v", n, limit, writeErr)
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil || n == 0 {
			t.Fatalf("moved %d, %v", n, readErr)
		}
	}
	if err := dst.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b := <-got; !bytes.Equal(b, append([]byte("ahead"), want...)) || total != len(b) {
		t.Errorf("%d bytes arrived, %d were moved, of %d; or they differ", len(b), total, len(want)+5)
	}
	if src.RxBytes() != uint64(len(want)) || dst.TxBytes() != uint64(len(want)+5) {
		t.Errorf("counted %d in, %d out", src.RxBytes(), dst.TxBytes())
	}
}

func TestSpliceFailures(t *testing.T) {
	t.Run("source reset", func(t *testing.T) {
		src, in := pair(t, "tcp")
		dst, _ := pair(t, "tcp")
		reset(in)
		if n, _, readErr, writeErr := dst.Splice(src, 10); n != 0 || readErr == nil || readErr == io.EOF || writeErr != nil {
			t.Errorf("moved %d, %v, %v", n, readErr, writeErr)
		}
	})
	t.Run("destination closed", func(t *testing.T) {
		src, in := pair(t, "tcp")
		dst, _ := pair(t, "tcp")
		io.WriteString(in, "lost")
		dst.Close()
		if got, n, readErr, writeErr := dst.Splice(src, 10); got != 4 || n != 0 || readErr != nil || !errors.Is(writeErr, net.ErrClosed) {
			t.Errorf("moved %d, %v, %v", n, readErr, writeErr)
		}
	})
	t.Run("abort while the source is silent", func(t *testing.T) {
		src, _ := pair(t, "tcp")
		dst, _ := pair(t, "tcp")
		done := make(chan error, 1)
		go func() {
			_, _, readErr, _ := dst.Splice(src, 10)
			done <- readErr
		}()
		await.True(t, "the splice is parked", src.in.isParked)
		src.Abort()
		if err := <-done; !errors.Is(err, ErrAborted) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("abort while the destination does not read", func(t *testing.T) {
		src, in := pair(t, "tcp")
		dst, _ := pair(t, "tcp")
		go func() {
			for b := payload(1 << 20); ; {
				if _, err := in.Write(b); err != nil {
					return
				}
			}
		}()
		done := make(chan error, 1)
		go func() {
			for {
				if _, _, readErr, writeErr := dst.Splice(src, SpliceSize); readErr != nil || writeErr != nil {
					done <- errors.Join(readErr, writeErr)
					return
				}
			}
		}()
		await.True(t, "the splice is parked", dst.out.isParked)
		dst.Abort()
		if err := <-done; !errors.Is(err, ErrAborted) {
			t.Errorf("got %v", err)
		}
	})
}
