package controlplane

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// A file whose time of change is younger than this when it is read is read again next time: another change may come
// within the resolution of file times.
const youth = time.Second

// errBusy tells of a file that is being written.
var errBusy = errors.New("it is being written")

// stamp tells whether a file may have changed.
type stamp struct {
	dev, ino       uint64
	size           int64
	changed, wrote time.Time
}

func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), wrote: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.dev, s.ino, s.changed = sys.Dev, sys.Ino, time.Unix(sys.Ctim.Unix())
	}
	return s
}

// file is what was read of one file. It is not written once made.
type file struct {
	stamp    stamp
	settled  bool // stamp tells every further change
	sum      [sha256.Size]byte
	items    []*item
	errs     []error
	warnings []string
}

// decoder knows a form of files.
type decoder func(src []byte, path string) ([]protoyaml.Resource, error)

// decoderOf is that of the files with the ending of path; nil is one that holds no resources. Files that editors leave
// or make for a moment are among these.
func decoderOf(path string) decoder {
	name := filepath.Base(path)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return nil
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return decodeText
	case ".pb":
		return decodeBinary
	case ".pb_text":
		return decodePrototext
	}
	return nil
}

func decodeText(src []byte, path string) ([]protoyaml.Resource, error) {
	resources, _, err := protoyaml.DecodeResources(src, path, protoyaml.Options{})
	return resources, err
}

func decodeBinary(src []byte, path string) ([]protoyaml.Resource, error) {
	r := new(discoveryv3.DiscoveryResponse)
	if err := proto.Unmarshal(src, r); err != nil {
		return nil, fmt.Errorf("%s: decode envoy.service.discovery.v3.DiscoveryResponse: %w", path, err)
	}
	return unpack(r, path)
}

func decodePrototext(src []byte, path string) ([]protoyaml.Resource, error) {
	r := new(discoveryv3.DiscoveryResponse)
	if err := prototext.Unmarshal(src, r); err != nil {
		return nil, fmt.Errorf("%s: decode envoy.service.discovery.v3.DiscoveryResponse: %w", path, err)
	}
	return unpack(r, path)
}

// unpack lists the resources of a response; their places are only known by their path.
func unpack(r *discoveryv3.DiscoveryResponse, path string) (out []protoyaml.Resource, err error) {
	var errs []error
	for i, body := range r.GetResources() {
		at := fmt.Sprintf("resources[%d]", i)
		m, err := body.UnmarshalNew()
		wrapper, wrapped := m.(*discoveryv3.Resource)
		if err == nil && wrapped {
			m, err = wrapper.GetResource().UnmarshalNew()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", path, at, err))
			continue
		}
		out = append(out, protoyaml.Resource{Message: m, Wrapper: wrapper, Path: at})
	}
	return out, errors.Join(errs...)
}

// readFile reads path unless it is what old, which may be nil, was read from. It is errBusy while someone writes it, and
// patient.
func (l *loader) readFile(path string, old *file, patient bool) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	now := stampOf(info)
	if old != nil && old.settled && old.stamp == now {
		return old, nil
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	src, err := readWhole(path, now, patient)
	if err != nil {
		return nil, err
	}
	f := &file{stamp: now, settled: time.Since(now.changed) > youth && time.Since(now.wrote) > youth, sum: sha256.Sum256(src)}
	if old != nil && old.sum == f.sum {
		f.items, f.errs, f.warnings = old.items, old.errs, old.warnings
		return f, nil
	}
	l.decode(f, src, path)
	return f, nil
}

// readWhole reads a file that does not change meanwhile.
func readWhole(path string, expect stamp, patient bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	if patient && beingWritten(f) {
		return nil, errBusy
	}
	src := make([]byte, expect.size)
	n, err := f.ReadAt(src, 0)
	if err != nil && int64(n) != expect.size {
		return nil, errBusy // it was cut
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if patient && stampOf(info) != expect {
		return nil, errBusy
	}
	return src, nil
}

// beingWritten tells whether a process has the file open for writing, which a read lease cannot be had of. Where leases
// do not work at all it is false.
func beingWritten(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err != nil {
		return errors.Is(err, unix.EAGAIN)
	}
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // it ends with the file at the latest
	return false
}

// decode fills f with what src says.
func (l *loader) decode(f *file, src []byte, path string) {
	resources, err := decoderOf(path)(src, path)
	if err != nil {
		f.errs = append(f.errs, err)
	}
	for _, r := range resources {
		at := fmt.Sprintf("%s:%d:%d", path, r.Line, r.Column)
		if r.Line == 0 {
			at = path + ": " + r.Path
		}
		it, err := newItem(r.Message, r.Wrapper)
		if err != nil {
			f.errs = append(f.errs, fmt.Errorf("%s: %w", at, err))
			continue
		}
		it.origin = at
		f.items = append(f.items, it)
		if l.check != nil {
			errs, warnings := l.check(path, r)
			f.errs, f.warnings = append(f.errs, errs...), append(f.warnings, warnings...)
		}
	}
	f.items = slices.Clip(f.items)
}
