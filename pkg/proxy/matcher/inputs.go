package matcher

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// requestHeader is HttpRequestHeaderMatchInput: pseudo headers count, and repeated headers are joined.
type requestHeader struct{ name string }

func (i *requestHeader) String() string { return "header " + i.name }

func (i *requestHeader) Value(d *Data) Value {
	if d.Request == nil {
		return Value{}
	}
	var v string
	var ok bool
	if strings.HasPrefix(i.name, ":") || i.name == "host" {
		v, ok = d.Request.Lookup(i.name)
	} else {
		v, ok = d.Request.Headers.Joined(i.name)
	}
	return Value{Text: v, Present: ok}
}

// messageHeader is an input of a header or trailer of one of the messages.
type messageHeader struct {
	what, name string
	of         func(*Data) *message.Headers
}

func (i *messageHeader) String() string { return i.what + " " + i.name }

func (i *messageHeader) Value(d *Data) Value {
	h := i.of(d)
	if h == nil {
		return Value{}
	}
	v, ok := h.Joined(i.name)
	return Value{Text: v, Present: ok}
}

func responseHeaders(d *Data) *message.Headers {
	if d.Response == nil {
		return nil
	}
	return &d.Response.Headers
}

func responseTrailers(d *Data) *message.Headers {
	if d.Response == nil || d.Response.Body == nil {
		return nil
	}
	return d.Response.Body.Trailers()
}

func requestTrailers(d *Data) *message.Headers {
	if d.Request == nil || d.Request.Body == nil {
		return nil
	}
	return d.Request.Body.Trailers()
}

// queryParameter is HttpRequestQueryParamMatchInput: the first one of the name, as it was sent.
type queryParameter struct{ name string }

func (i *queryParameter) String() string { return "query parameter " + i.name }

func (i *queryParameter) Value(d *Data) Value {
	if d.Request == nil {
		return Value{}
	}
	_, query, _ := strings.Cut(d.Request.Path, "?")
	query, _, _ = strings.Cut(query, "#")
	v, ok := match.QueryValue(query, i.name)
	return Value{Text: v, Present: ok}
}

// status is HttpResponseStatusCodeMatchInput, or its class such as "5xx".
type status struct{ class bool }

func (i *status) String() string {
	if i.class {
		return "response status class"
	}
	return "response status"
}

func (i *status) Value(d *Data) Value {
	if d.Response == nil {
		return Value{}
	}
	code := d.Response.Status
	if i.class {
		if code < 100 || code > 599 {
			return Value{}
		}
		return text([...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[code/100-1])
	}
	return text(strconv.Itoa(code))
}

// ofConnection is an input of one fact about the connection; ok is false when it is not known.
type ofConnection struct {
	name string
	of   func(c *streaminfo.Connection) (text string, ok bool)
}

func (i *ofConnection) String() string { return i.name }

func (i *ofConnection) Value(d *Data) Value {
	c := d.conn()
	if c == nil {
		return Value{}
	}
	s, ok := i.of(c)
	return Value{Text: s, Present: ok}
}

func addressOf(of func(*streaminfo.Connection) netip.AddrPort) func(*streaminfo.Connection) (string, bool) {
	return func(c *streaminfo.Connection) (string, bool) {
		a := of(c)
		if !a.IsValid() {
			return "", false
		}
		return a.Addr().Unmap().String(), true
	}
}

func portOf(of func(*streaminfo.Connection) netip.AddrPort) func(*streaminfo.Connection) (string, bool) {
	return func(c *streaminfo.Connection) (string, bool) {
		a := of(c)
		return strconv.Itoa(int(a.Port())), a.IsValid()
	}
}

func local(c *streaminfo.Connection) netip.AddrPort  { return c.Local }
func remote(c *streaminfo.Connection) netip.AddrPort { return c.Remote }
func direct(c *streaminfo.Connection) netip.AddrPort { return c.DirectRemote }

// sourceType is "local" for clients on this host, as in Envoy; others have no value.
func sourceType(c *streaminfo.Connection) (string, bool) {
	a, b := c.Remote.Addr(), c.Local.Addr()
	return "local", a.IsValid() && (a.Unmap().IsLoopback() || a.Unmap() == b.Unmap())
}

func serverName(c *streaminfo.Connection) (string, bool) { return c.ServerName, c.ServerName != "" }

func transportProtocol(c *streaminfo.Connection) (string, bool) {
	return c.TransportProtocol, c.TransportProtocol != ""
}

// applicationProtocols are quoted and joined by commas, as in Envoy.
func applicationProtocols(c *streaminfo.Connection) (string, bool) {
	var b []byte
	for i, p := range c.ALPN {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '\''), p...), '\'')
	}
	return string(b), len(c.ALPN) > 0
}

// The inputs of the client's certificate. Several names are joined by commas.
func uriSAN(c *streaminfo.Connection) (string, bool) {
	if c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return "", false
	}
	var names []string
	for _, u := range c.TLS.PeerCertificates[0].URIs {
		names = append(names, u.String())
	}
	return strings.Join(names, ","), len(names) > 0
}

func dnsSAN(c *streaminfo.Connection) (string, bool) {
	if c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return "", false
	}
	names := c.TLS.PeerCertificates[0].DNSNames
	return strings.Join(names, ","), len(names) > 0
}

func subject(c *streaminfo.Connection) (string, bool) {
	if c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return "", false
	}
	return c.TLS.PeerCertificates[0].Subject.String(), true
}

// filterState is FilterStateInput.
type filterState struct{ key string }

func (i *filterState) String() string { return "filter state " + i.key }

func (i *filterState) Value(d *Data) Value {
	if d.Info == nil {
		return Value{}
	}
	s, ok := match.Text(d.Info.FilterState[i.key])
	return Value{Text: s, Present: ok}
}

// metadata is DynamicMetadataInput.
type metadata struct {
	filter string
	path   []string
}

func (i *metadata) String() string { return "metadata " + i.filter + ":" + strings.Join(i.path, ".") }

func (i *metadata) Value(d *Data) Value {
	if d.Info == nil {
		return Value{}
	}
	v, ok := match.At(d.Info.Dynamic[i.filter], i.path)
	return Value{Any: structured{v}, Present: ok}
}

// structured wraps structured data, so that null differs from nothing.
type structured struct{ value any }

// fixed is an input that does not depend on the request, such as an environment variable.
type fixed struct {
	name  string
	value Value
}

func (i *fixed) String() string    { return i.name }
func (i *fixed) Value(*Data) Value { return i.value }
