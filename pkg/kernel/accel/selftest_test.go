package accel

import (
	"context"
	"testing"
	"time"
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
