package await

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// failing takes the failure of a test down in place of the test's own.
type failing struct {
	testing.TB
	failure string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestNil(t *testing.T) {
	for _, tc := range []struct {
		name    string
		after   time.Duration // when the condition begins to hold
		failure string
	}{
		{name: "at once"},
		{name: "soon", after: time.Millisecond},
		{name: "late", after: Patience - lastPause},
		{name: "too late", after: Patience + 2*lastPause, failure: "a door: not within 30s: it is shut"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, f := time.Now(), &failing{TB: t}
				done := make(chan struct{})
				go func() {
					defer close(done)
					Nil(f, "a door", func() error {
						if time.Since(begin) < tc.after {
							return errors.New("it is shut")
						}
						return nil
					})
				}()
				<-done
				if f.failure != tc.failure {
					t.Errorf("failed with %q, want %q", f.failure, tc.failure)
				}
				if took := time.Since(begin); tc.failure == "" && took > tc.after+max(tc.after, lastPause) {
					t.Errorf("took %v for what holds after %v", took, tc.after)
				}
			})
		})
	}
}

func TestTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, done := &failing{TB: t}, make(chan struct{})
		go func() {
			defer close(done)
			True(f, "a door", func() bool { return false })
		}()
		<-done
		if !strings.HasPrefix(f.failure, "a door: not within") {
			t.Errorf("failed with %q", f.failure)
		}
	})
	looks := 0
	True(t, "the third look", func() bool { looks++; return looks == 3 })
}
