package accel

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSelfTest(t *testing.T) {
	for _, m := range []Mode{Receive, Full} {
		t.Run(m.String(), func(t *testing.T) {
			start := time.Now()
			if err := SelfTest(t.Context(), m); err != nil {
				t.Error(err)
			}
			t.Logf("took %v", time.Since(start))
		})
	}
}

func TestSelfTestEndsInTime(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if err := SelfTest(ctx, Receive); err == nil {
		t.Error("passed without time")
	}
}

// TestCounts compares with what this kernel does: one that answers wrongly is recognised.
func TestCounts(t *testing.T) {
	r := newRig(t, Options{}, false)
	app, proxy, _ := r.connect(t, 0)
	mustWrite(t, proxy, "text")
	waiting := 0
	control(t, app, func(fd int) {
		var errs [2]error
		_, errs[0] = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		waiting, errs[1] = unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err := errors.Join(errs[:]...); err != nil {
			t.Error(err)
		}
	})
	err := Counts(t.Context())
	if waiting == 4 && err != nil || waiting == 0 && !errors.Is(err, ErrUncounted) {
		t.Errorf("%d of 4 bytes are counted: %v", waiting, err)
	}
	t.Logf("%d of 4 bytes are counted", waiting)
}
