// Package extension is the registry of weir's extensions: filters, access loggers, transport sockets and what else
// Envoy's configuration names by type URL.
//
// It owns the lookup from a type URL or a legacy name to the code that decodes the extension's configuration. It must
// not know any extension: each one is a package of its own that describes itself by a Factory, and one place in the
// program puts them into a Registry. A Registry is immutable once built and safe for concurrent use.
package extension

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Categories of extensions, in Envoy's names as they appear in node.extensions and in error messages.
const (
	HTTPFilters             = "envoy.filters.http"
	UpstreamHTTPFilters     = "envoy.filters.http.upstream"
	UpstreamNetworkFilters  = "envoy.filters.upstream_network"
	NetworkFilters          = "envoy.filters.network"
	ListenerFilters         = "envoy.filters.listener"
	UDPListenerFilters      = "envoy.filters.udp_listener"
	AccessLoggers           = "envoy.access_loggers"
	AccessLogFilters        = "envoy.access_loggers.extension_filters"
	Bootstrap               = "envoy.bootstrap"
	StatsSinks              = "envoy.stats_sinks"
	DownstreamSockets       = "envoy.transport_sockets.downstream"
	UpstreamSockets         = "envoy.transport_sockets.upstream"
	LoadBalancers           = "envoy.load_balancing_policies"
	UpstreamProtocolOptions = "envoy.upstream_options"
	RetryHostPredicates     = "envoy.retry_host_predicates"
	RetryPriorities         = "envoy.retry_priorities"
	RedirectPredicates      = "envoy.internal_redirect_predicates"
	HTTP1HeaderFormatters   = "envoy.http.stateful_header_formatters"
	RequestIDs              = "envoy.request_id"
	EarlyHeaderMutations    = "envoy.http.early_header_mutation"
	OriginalIPDetections    = "envoy.http.original_ip_detection"
	Clusters                = "envoy.clusters"
	DNSResolvers            = "envoy.network.dns_resolver"
	ClusterSpecifiers       = "envoy.router.cluster_specifier_plugin"
	MatchingHTTPInputs      = "envoy.matching.http.input"
	MatchingNetworkInputs   = "envoy.matching.network.input"
	InputMatchers           = "envoy.matching.input_matchers"
	PathMatchers            = "envoy.path.match"
	PathRewriters           = "envoy.path.rewrite"
)

// Factory describes one extension.
type Factory struct {
	// Category is one of the constants of this package, or another of Envoy's category names.
	Category string
	// AlsoIn are further categories in which the same extension is known, such as UpstreamHTTPFilters for an HTTP filter
	// that works there too.
	AlsoIn []string
	// Name is Envoy's name of the extension, such as envoy.filters.http.router.
	Name string
	// Aliases are legacy names such as envoy.router. An extension entry with Name or an alias as its name and without
	// a typed_config uses the default configuration.
	Aliases []string
	// Config is the prototype of the configuration; its type URL is the key. It is never written to.
	Config proto.Message
	// PerRoute is the prototype of the per-route configuration; nil when the extension has none. It may be the same
	// type as Config.
	PerRoute proto.Message
	// Decode turns a message of Config's type into what the extension works with. Nil means that the translator
	// decodes it by itself.
	Decode func(m proto.Message) (any, error)
	// DecodePerRoute does the same for a message of PerRoute's type. It must be set when PerRoute is.
	DecodePerRoute func(m proto.Message) (any, error)
	// Review tells what a message of Config's or of PerRoute's type, which was decoded without error, asks for that has
	// another effect than may be expected. Nil: there is nothing of the kind.
	Review func(m proto.Message) []Finding
	// Terminal filters end their chain: they must be its last entry. The router is terminal even if it does not say so.
	Terminal bool
	// Support says field by field what the extension does with the messages it owns (message full name to table), for
	// warnings about configuration without effect and for the compatibility page. Messages that are not listed are
	// not looked into.
	Support map[string]Fields
}

// Fields says what becomes of each field of one message, by field name. A field that is not listed is not supported:
// setting it yields a warning.
type Fields map[string]Field

// Field is what becomes of one configuration field.
type Field struct {
	// Harmless is empty for a field that takes effect. Otherwise it is the reason why the field may be accepted
	// without effect.
	Harmless string
}

// Finding is what an extension tells of a configuration that it accepts.
type Finding struct {
	// Path leads to the field from the extension's message, in proto names.
	Path string
	// Reason says what is not done, or done in another way.
	Reason string
	// Unsupported tells that Envoy would act on it, so that --reject-unsupported refuses it.
	Unsupported bool
}

// TypeURL is the key of the extension: type.googleapis.com/ and the full name of Config.
func (f *Factory) TypeURL() string { return TypeURL(f.Config) }

// TypeURL is the type URL of m.
func TypeURL(m proto.Message) string {
	return typePrefix + string(m.ProtoReflect().Descriptor().FullName())
}

const typePrefix = "type.googleapis.com/"

// messageName is what follows the last slash of a type URL.
func messageName(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '/')+1:] }

// Registry finds factories by category and type URL, or by category and name.
type Registry struct {
	all    []*Factory
	byType map[key]*Factory
	byName map[key]*Factory
	route  map[key]*Factory
	// off holds the message names and the names of what Without left out.
	off map[key]bool
}

// key is a category and a message name (or an extension name).
type key struct{ category, name string }

// NewRegistry builds a registry. It reports every factory that is incomplete or that repeats a type URL, name or alias
// of its category.
func NewRegistry(factories ...Factory) (*Registry, error) {
	r := &Registry{byType: map[key]*Factory{}, byName: map[key]*Factory{}, route: map[key]*Factory{}}
	var errs []error
	for i := range factories {
		for _, f := range byCategory(factories[i]) {
			if err := r.add(&f); err != nil {
				errs = append(errs, fmt.Errorf("register extension %s of %s: %w", f.Name, f.Category, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortStableFunc(r.all, func(a, b *Factory) int {
		return strings.Compare(a.Category+"\x00"+a.Name, b.Category+"\x00"+b.Name)
	})
	return r, nil
}

// byCategory is a factory for each of the categories of f.
func byCategory(f Factory) []Factory {
	categories := append([]string{f.Category}, f.AlsoIn...)
	f.AlsoIn = nil
	out := make([]Factory, len(categories))
	for i, category := range categories {
		out[i] = f
		out[i].Category = category
	}
	return out
}

// With returns a registry that has more factories beside those of r. r itself does not change and may be nil.
func (r *Registry) With(more ...Factory) (*Registry, error) {
	var all []Factory
	if r != nil {
		for _, f := range r.all {
			all = append(all, *f)
		}
	}
	return NewRegistry(append(all, more...)...)
}

// Without returns a registry without the extensions that are named, each as its name or as category/name, as Envoy's flag
// --disable-extensions has it, and the names that no extension bears. r itself does not change.
func (r *Registry) Without(names []string) (rest *Registry, unknown []string, err error) {
	used, off := map[string]bool{}, map[key]bool{}
	var kept []Factory
	for _, f := range r.all {
		full := f.Category + "/" + f.Name
		if !slices.Contains(names, f.Name) && !slices.Contains(names, full) {
			kept = append(kept, *f)
			continue
		}
		used[f.Name], used[full] = true, true
		for _, name := range append([]string{messageName(f.TypeURL()), f.Name}, f.Aliases...) {
			off[key{f.Category, name}] = true
		}
	}
	for _, name := range names {
		if !used[name] {
			unknown = append(unknown, name)
		}
	}
	if rest, err = NewRegistry(kept...); err != nil {
		return nil, nil, err
	}
	rest.off = off
	return rest, unknown, nil
}

// add puts a private copy of f into the maps.
func (r *Registry) add(f *Factory) error {
	switch {
	case f.Category == "" || f.Name == "":
		return errors.New("category and name must be set")
	case f.Config == nil:
		return errors.New("the configuration prototype must be set")
	case (f.PerRoute == nil) != (f.DecodePerRoute == nil):
		return errors.New("per-route prototype and decoder must be set together")
	}
	own := *f
	own.Terminal = f.Terminal || f.Category == HTTPFilters && f.Name == "envoy.filters.http.router"
	k := key{f.Category, messageName(f.TypeURL())}
	if other := r.byType[k]; other != nil {
		return fmt.Errorf("type URL %s is taken by %s", f.TypeURL(), other.Name)
	}
	for _, name := range append([]string{f.Name}, f.Aliases...) {
		if other := r.byName[key{f.Category, name}]; other != nil {
			return fmt.Errorf("name %s is taken by %s", name, other.TypeURL())
		}
	}
	r.byType[k] = &own
	for _, name := range append([]string{f.Name}, f.Aliases...) {
		r.byName[key{f.Category, name}] = &own
	}
	if f.PerRoute != nil {
		r.route[key{f.Category, messageName(TypeURL(f.PerRoute))}] = &own
	}
	r.all = append(r.all, &own)
	return nil
}

// Lookup finds the factory of category for typeURL or, when typeURL is empty, the one whose name or alias is name. The
// error is an *UnknownError.
func (r *Registry) Lookup(category, typeURL, name string) (*Factory, error) {
	if typeURL == "" {
		if f := r.byName[key{category, name}]; f != nil {
			return f, nil
		}
		return nil, r.unknown(category, "", name)
	}
	if f := r.byType[key{category, messageName(typeURL)}]; f != nil {
		return f, nil
	}
	return nil, r.unknown(category, typeURL, name)
}

// LookupPerRoute finds the factory of category whose per-route configuration has typeURL. The error is an
// *UnknownError.
func (r *Registry) LookupPerRoute(category, typeURL string) (*Factory, error) {
	if f := r.route[key{category, messageName(typeURL)}]; f != nil {
		return f, nil
	}
	return nil, r.unknown(category, typeURL, "")
}

// Names returns the sorted names of the extensions of category, without aliases, for node.extensions.
func (r *Registry) Names(category string) []string {
	var names []string
	for _, f := range r.all {
		if f.Category == category {
			names = append(names, f.Name)
		}
	}
	return names
}

// Categories returns the sorted names of all categories that have an extension.
func (r *Registry) Categories() []string {
	var names []string
	for _, f := range r.all {
		if len(names) == 0 || names[len(names)-1] != f.Category {
			names = append(names, f.Category)
		}
	}
	return names
}

// List returns all factories, sorted by category and name. The caller must not change them.
func (r *Registry) List() []*Factory { return slices.Clone(r.all) }

// Support returns the field tables of all extensions, by message.
func (r *Registry) Support() map[protoreflect.FullName]Fields {
	all := map[protoreflect.FullName]Fields{}
	for _, f := range r.all {
		for message, fields := range f.Support {
			all[protoreflect.FullName(message)] = fields
		}
	}
	return all
}
