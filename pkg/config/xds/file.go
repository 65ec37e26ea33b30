package xds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

type fileOptions struct {
	path, directory string
	// typeURL is the only type that is taken from the file; others may stand in it for other sources.
	typeURL string
	handler Handler
	log     *slog.Logger
	watch   *filewatch.Watcher
	// rejectUnknown makes unknown fields errors.
	rejectUnknown bool
}

// file delivers the resources of one type from a file. All names of the type come with each reading: who did not ask for
// a resource ignores it.
type file struct {
	opt  fileOptions
	kick chan struct{} // one slot: the file is to be read

	mu       sync.Mutex
	wildcard bool
	names    map[string]bool
}

func newFile(opt fileOptions) *file {
	return &file{opt: opt, kick: make(chan struct{}, 1), names: map[string]bool{}}
}

// SubscribeAll hands over the file's resources.
func (f *file) SubscribeAll(string) {
	f.mu.Lock()
	f.wildcard = true
	f.mu.Unlock()
	f.wake()
}

// Subscribe hands over the file's resources once more if name is new.
func (f *file) Subscribe(_, name string) {
	f.mu.Lock()
	known := f.names[name]
	f.names[name] = true
	f.mu.Unlock()
	if !known {
		f.wake()
	}
}

// Unsubscribe forgets name.
func (f *file) Unsubscribe(_, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.names, name)
}

// asked are the subscriptions that a reading is for.
func (f *file) asked() Asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Asked{Type: f.opt.typeURL, All: f.wildcard, Names: slices.Collect(maps.Keys(f.names))}
}

func (f *file) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// Run reads the file whenever it changed or a name was added, until ctx ends.
func (f *file) Run(ctx context.Context) {
	cancel := f.follow(ctx)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.kick:
		}
		f.opt.handler.Attempt(f.asked())
		u, err := f.read()
		if err != nil {
			f.opt.log.Error("kept the configuration as it was: a file of resources cannot be used", "type", f.opt.typeURL, "error", err)
			f.opt.handler.Failure(f.asked(), err)
			continue
		}
		if err := f.opt.handler.Update(ctx, u); err != nil {
			f.opt.log.Error("rejected some of a file of resources", "path", f.opt.path, "type", f.opt.typeURL, "error", err)
		}
	}
}

// follow watches the file; while its directory does not exist it reports so, and tries again as often as streams would.
func (f *file) follow(ctx context.Context) (cancel func()) {
	if f.opt.watch == nil {
		return func() {}
	}
	for attempt := 0; ; attempt++ {
		cancel, err := f.opt.watch.Add(f.opt.path, f.opt.directory, f.wake)
		if err == nil {
			if attempt > 0 {
				f.wake()
			}
			return cancel
		}
		f.opt.log.Error("cannot follow a file of resources", "path", f.opt.path, "type", f.opt.typeURL, "error", err)
		f.opt.handler.Failure(f.asked(), err)
		select {
		case <-ctx.Done():
			return func() {}
		case <-time.After(DefaultBackoff.interval(attempt, 1)):
		}
	}
}

// read returns what the file holds of the type.
func (f *file) read() (Update, error) {
	src, err := os.ReadFile(f.opt.path)
	if err != nil {
		return Update{}, fmt.Errorf("read resources: %w", err)
	}
	resources, warnings, err := protoyaml.DecodeResources(src, f.opt.path, protoyaml.Options{AllowUnknown: !f.opt.rejectUnknown})
	if err != nil {
		return Update{}, fmt.Errorf("decode resources: %w", err)
	}
	for _, w := range outside(warnings, resources) {
		f.opt.log.Warn("unknown field in a file of resources", "warning", w.Error())
	}
	u := Update{Type: f.opt.typeURL, Version: version(src), Full: true}
	for _, r := range resources {
		one, err := packed(r, u.Version)
		if err != nil {
			return Update{}, fmt.Errorf("%s:%d: %w", f.opt.path, r.Line, err)
		}
		if one.Body.GetTypeUrl() == f.opt.typeURL {
			u.Resources = append(u.Resources, one)
		}
	}
	if len(u.Resources) == 0 {
		if err := f.empty(src, resources); err != nil {
			return Update{}, err
		}
	}
	return u, nil
}

// outside are the warnings that are about none of the resources.
func outside(warnings []protoyaml.Error, resources []protoyaml.Resource) []protoyaml.Error {
	type place struct{ line, column int }
	inside := map[place]bool{}
	for _, r := range resources {
		for _, w := range r.Unknown {
			inside[place{w.Line, w.Column}] = true
		}
	}
	return slices.DeleteFunc(warnings, func(w protoyaml.Error) bool { return inside[place{w.Line, w.Column}] })
}

// empty judges a file without resources of the type. Only one that says so means that there are none: a file that has
// just been truncated, or one of another type, must not remove all listeners.
func (f *file) empty(src []byte, resources []protoyaml.Resource) error {
	if len(resources) > 0 {
		return fmt.Errorf("%s holds %d resources, and none of type %s", f.opt.path, len(resources), f.opt.typeURL)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(src, &root); err != nil {
		return fmt.Errorf("decode %s: %w", f.opt.path, err)
	}
	if root.Kind == 0 {
		return errors.New(f.opt.path + " is empty: \"resources: []\" says that there are none")
	}
	return nil
}

func packed(r protoyaml.Resource, version string) (Resource, error) {
	body, err := anypb.New(r.Message)
	if err != nil {
		return Resource{}, fmt.Errorf("encode %s: %w", proto.MessageName(r.Message), err)
	}
	out := Resource{Version: version}
	if r.Wrapper != nil {
		out = deltaResource(r.Wrapper, version)
	}
	out.Body, out.Unknown = body, r.Unknown
	return out, nil
}

// version is the version_info of a DiscoveryResponse; the hash of the content when there is none.
func version(src []byte) string {
	var response struct {
		Snake string `yaml:"version_info"`
		Camel string `yaml:"versionInfo"`
	}
	_ = yaml.Unmarshal(src, &response) // a list, or several documents, have no version
	switch {
	case response.Snake != "":
		return response.Snake
	case response.Camel != "":
		return response.Camel
	}
	sum := sha256.Sum256(src)
	return hex.EncodeToString(sum[:8])
}
