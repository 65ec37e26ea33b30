package notify

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

func TestReadyArrives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv(Environment, path)
	if err := Send("STATUS=starting\nMAINPID=1"); err != nil {
		t.Fatal(err)
	}
	if err := Send(Ready); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(t.Context(), Ready); err != nil {
		t.Error(err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	l, err := Listen(filepath.Join(t.TempDir(), "notify"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Wait(ctx, Ready); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestSendWithoutSupervisor(t *testing.T) {
	t.Setenv(Environment, "")
	if err := Send(Ready); err != nil {
		t.Error(err)
	}
}
