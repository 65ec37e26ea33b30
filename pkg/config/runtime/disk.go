package runtime

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// maxFile bounds the files of a disk layer: a value is a number or a line, and anything larger is there by mistake.
const maxFile = 1 << 20

// dir is the directory whose tree a disk layer holds.
func (d *Disk) dir(serviceCluster string) string {
	dir := filepath.Join(d.SymlinkRoot, d.Subdirectory)
	if d.AppendServiceCluster {
		dir = filepath.Join(dir, serviceCluster)
	}
	return dir
}

// follow watches the links of the disk layers. Called with mu held.
func (r *Runtime) follow() error {
	if r.opt.Watch == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, l := range r.layers {
		if l.Disk == nil || seen[l.Disk.SymlinkRoot] {
			continue
		}
		seen[l.Disk.SymlinkRoot] = true
		stop, err := r.opt.Watch.Add(l.Disk.SymlinkRoot, "", r.swapped)
		if err != nil {
			return fmt.Errorf("runtime layer %s: %w", l.Name, err)
		}
		r.stop = append(r.stop, stop)
	}
	return nil
}

// swapped reads the disk layers again.
func (r *Runtime) swapped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reload()
}

// reload reads the disk layers and puts the outcome in force. A tree that cannot be read is left out, as in Envoy. Called with
// mu held.
func (r *Runtime) reload() {
	failed := false
	for _, l := range r.layers {
		if l.Disk == nil {
			continue
		}
		l.values, l.there = nil, false
		dir := l.Disk.dir(r.opt.ServiceCluster)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		values := map[string]model.RuntimeValue{}
		if err := readTree(values, dir, "", 0); err != nil {
			r.opt.Log.Error("left out a runtime layer that cannot be read", "layer", l.Name, "error", err)
			failed = true
			continue
		}
		l.values, l.there = values, true
	}
	r.merge(failed)
}

// readTree reads the files below dir: the path of a file with dots for slashes is a key.
func readTree(into map[string]model.RuntimeValue, dir, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("read runtime directory %s: it nests deeper than %d", dir, maxDepth)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read runtime directory: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue // what Kubernetes swaps under the files of a volume
		}
		path, key := filepath.Join(dir, e.Name()), e.Name()
		if prefix != "" {
			key = prefix + "." + key
		}
		info, err := os.Stat(path) // through links
		if err != nil {
			return fmt.Errorf("read runtime value %s: %w", key, err)
		}
		switch {
		case info.IsDir():
			if err := readTree(into, path, key, depth+1); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			v, err := readValue(path, info)
			if err != nil {
				return fmt.Errorf("read runtime value %s: %w", key, err)
			}
			into[key] = v
		}
	}
	return nil
}

// readValue reads a file without its comments, which are lines that begin with #, and without white space at the end.
func readValue(path string, info fs.FileInfo) (model.RuntimeValue, error) {
	if info.Size() > maxFile {
		return model.RuntimeValue{}, fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), maxFile)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return model.RuntimeValue{}, err
	}
	var lines []string
	for line := range strings.SplitSeq(string(content), "\n") {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return Parse(strings.TrimRightFunc(strings.Join(lines, "\n"), unicode.IsSpace)), nil
}
