package pin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Found is a link that was pinned before.
type Found struct {
	// Cgroup is the id of the cgroup, Hook the hook's name, as they were given to Link and as the kernel confirms.
	Cgroup uint64
	Hook   string
	// Current is true when it is in the directory of the present layout.
	Current bool
	// Path of the pin.
	Path string
	// Link is open; the caller closes it.
	Link link.Link
}

// Links opens the pinned links of all layouts. Those that are not what their names say, or whose cgroup is gone, or whose program
// is not weir's (named prefix...) are left out: problems says why, and Sweep or Remove remove their pins.
func (s *Store) Links(prefix string) (found []Found, problems []error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*", "link_*"))
	if err != nil {
		return nil, []error{err}
	}
	for _, path := range names {
		f, err := open(path, prefix)
		if errors.Is(err, errCgroupGone) {
			_ = os.Remove(path) // nothing is lost with it; the next start would find it again
			continue
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("pinned link %s is not used: %w", path, err))
			_ = os.Remove(path)
			continue
		}
		f.Current = filepath.Dir(path) == s.current()
		found = append(found, f)
	}
	return found, problems
}

var errCgroupGone = errors.New("its cgroup is gone")

// open opens a pinned link and compares it with its name.
func open(path, prefix string) (Found, error) {
	cgroup, hook, ok := parseLink(filepath.Base(path))
	if !ok {
		return Found{}, errors.New("it has no name of a link")
	}
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return Found{}, err
	}
	f := Found{Cgroup: cgroup, Hook: hook, Path: path, Link: l}
	if err := f.check(prefix); err != nil {
		l.Close()
		return Found{}, err
	}
	return f, nil
}

func (f Found) check(prefix string) error {
	info, err := f.Link.Info()
	if err != nil {
		return err
	}
	at := info.Cgroup()
	switch {
	case at == nil:
		return errors.New("it is no link of a cgroup")
	case at.CgroupId == 0:
		return errCgroupGone
	case at.CgroupId != f.Cgroup:
		return fmt.Errorf("it is a link of the cgroup with id %d", at.CgroupId)
	case ebpf.AttachType(at.AttachType).String() != f.Hook:
		return fmt.Errorf("it is a link at %s", ebpf.AttachType(at.AttachType))
	}
	program, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return err
	}
	defer program.Close()
	described, err := program.Info()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(described.Name, prefix) {
		return fmt.Errorf("its program is %s, which is none of weir's", described.Name)
	}
	return nil
}

func parseLink(base string) (cgroup uint64, hook string, ok bool) {
	rest, ok := strings.CutPrefix(base, "link_")
	if !ok {
		return 0, "", false
	}
	id, hook, ok := strings.Cut(rest, "_")
	if !ok {
		return 0, "", false
	}
	cgroup, err := strconv.ParseUint(id, 10, 64)
	return cgroup, hook, err == nil
}
