package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// settle is how long a directory must be quiet before it is read again: files are often written several at a time.
const settle = 100 * time.Millisecond

// LoadDir serves the resources of all files of dir whose names end in .yaml, .yml or .json, as one set. Files whose names
// begin with a dot, and directories, are left out. On error, which names file, line and reason of all that is wrong, the
// set stays as it was. The types of the resources must be registered (pkg/config/apitypes).
func (s *Server) LoadDir(dir string) error {
	next, err := s.readDir(dir)
	if err != nil {
		return err
	}
	return s.serve(next)
}

// WatchDir loads dir, and loads it again whenever something in it changed, until ctx ends. A set that cannot be used is
// logged, and the last good one is served on. The error tells that dir cannot be watched.
func (s *Server) WatchDir(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("watch resources: %w", err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch resources: %w", err)
	}
	defer w.Close() // nothing was written
	// The parent tells when the directory itself is replaced.
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := w.Add(d); err != nil {
			return fmt.Errorf("watch resources in %s: %w", d, err)
		}
	}
	load := time.NewTimer(0)
	defer load.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-w.Events:
			if filepath.Dir(event.Name) != dir && event.Name != dir {
				continue // another one in the parent
			}
			if event.Name == dir && event.Has(fsnotify.Create) {
				_ = w.Add(dir) // gone again: then its return is another event
			}
			load.Reset(settle)
		case err := <-w.Errors: // lost events: look
			s.opt.Log.Warn("watching resources", "dir", dir, "error", err)
			load.Reset(settle)
		case <-load.C:
			s.reload(dir)
		}
	}
}

func (s *Server) reload(dir string) {
	next, err := s.readDir(dir)
	if err == nil && s.serves(next) {
		return
	}
	if err == nil {
		err = s.serve(next)
	}
	if err != nil {
		s.opt.Log.Error("serving the last good resources: the directory cannot be used", "dir", dir, "error", err)
		return
	}
	s.opt.Log.Info("serving changed resources", "dir", dir, "resources", next.String())
}

// serves tells whether next is what is served already.
func (s *Server) serves(next *set) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set != nil && s.set.String() == next.String()
}

// readDir reads all files of dir and returns all that is wrong with any of them.
func (s *Server) readDir(dir string) (*set, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read resources: %w", err)
	}
	next := emptySet()
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		errs = append(errs, s.readFile(path, next)...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return next, nil
}

// readFile adds the resources of a file.
func (s *Server) readFile(path string, into *set) (errs []error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return []error{fmt.Errorf("read resources: %w", err)}
	}
	resources, _, err := protoyaml.DecodeResources(src, path, protoyaml.Options{})
	if err != nil {
		errs = append(errs, err)
	}
	for _, r := range resources {
		at := fmt.Sprintf("%s:%d:%d", path, r.Line, r.Column)
		if r.Wrapper.GetTtl() != nil {
			errs = append(errs, fmt.Errorf("%s: a ttl is not supported", at))
			continue
		}
		if err := into.add(r.Message); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", at, err))
		}
	}
	return errs
}
