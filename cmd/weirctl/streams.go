package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/check"
)

// streams are files that can be read only once, such as standard input, as files that can be read again.
type streams struct {
	// paths are all files, those that can be read again as they were named.
	paths []string
	dir   string
	// named are the names of the others, by their paths.
	named map[string]string
}

// maxStream bounds what is read of a stream, in bytes.
const maxStream = 256 << 20

// storeStreams stores what the streams among paths hold; "-" is in. What it returns must be removed, also after an error.
func storeStreams(paths []string, in io.Reader) (*streams, error) {
	s := &streams{named: map[string]string{}}
	for _, path := range paths {
		switch info, err := os.Stat(path); {
		case path == "-", path == "/dev/stdin":
			if err := s.store("/dev/stdin", in); err != nil {
				return s, err
			}
		case err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket|fs.ModeCharDevice) != 0:
			if err := s.open(path); err != nil {
				return s, err
			}
		default:
			s.paths = append(s.paths, path)
		}
	}
	return s, nil
}

// open stores what a file holds.
func (s *streams) open(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer f.Close()
	return s.store(path, f)
}

// store stores what r holds, which findings call by name.
func (s *streams) store(name string, r io.Reader) error {
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "weirctl-")
		if err != nil {
			return fmt.Errorf("store %s: %w", name, err)
		}
		s.dir = dir
	}
	text, err := io.ReadAll(io.LimitReader(r, maxStream+1))
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", name, err)
	case len(text) > maxStream:
		return fmt.Errorf("read %s: it has more than %d bytes", name, maxStream)
	}
	path := filepath.Join(s.dir, fmt.Sprintf("%d.yaml", len(s.named)))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("store %s: %w", name, err)
	}
	s.paths, s.named[path] = append(s.paths, path), name
	return nil
}

// name is what a file is called.
func (s *streams) name(path string) string {
	if name, stored := s.named[path]; stored {
		return name
	}
	return path
}

// rename has findings name the files as they are called.
func (s *streams) rename(list check.Findings) {
	for i := range list {
		list[i].File = s.name(list[i].File)
		for path, name := range s.named {
			list[i].Message = strings.ReplaceAll(list[i].Message, path, name)
		}
	}
}

func (s *streams) remove() {
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}
