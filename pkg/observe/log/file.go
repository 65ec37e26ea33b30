package log

import (
	"fmt"
	"os"
	"sync"
)

// File is a log file that can be reopened after it was rotated away. It is safe for concurrent use.
type File struct {
	path string

	mu sync.Mutex
	f  *os.File
}

// OpenFile opens the file at path for appending and makes it if it does not exist.
func OpenFile(path string) (*File, error) {
	f, err := openAppend(path)
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	return &File{path: path, f: f}, nil
}

// Write appends p.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.f.Write(p)
}

// Reopen opens the path again, for use after a rotation (SIGUSR1). If that is not possible the old
// file stays in use, so that no line is lost.
func (f *File) Reopen() error {
	next, err := openAppend(f.path)
	if err != nil {
		return fmt.Errorf("reopen log file: %w", err)
	}
	f.mu.Lock()
	old := f.f
	f.f = next
	f.mu.Unlock()
	if err := old.Close(); err != nil {
		return fmt.Errorf("close rotated log file: %w", err)
	}
	return nil
}

// Close closes the file. Writes after it are errors.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.f.Close()
}

func openAppend(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
}
