package leak

import (
	"os"
	"runtime"
	"testing"
)

func TestGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		<-end
	}()
	Goroutines(t, before+1)
	close(end)
	Goroutines(t, before)
	select {
	case <-ended:
	default:
		t.Error("the goroutine was not waited for")
	}
}

func TestFiles(t *testing.T) {
	before := Files(t)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if now := Files(t); now != before+1 {
		t.Errorf("%d descriptors with one more than %d", now, before)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if now := Files(t); now != before {
		t.Errorf("%d descriptors, %d before", now, before)
	}
}
