package explain

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/httpinspector"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Query is a question about one connection, and the first request on it should it be one of HTTP.
type Query struct {
	// Dst is where to, IPv4 unmapped.
	Dst netip.AddrPort
	// Host, Path and Method of the request; empty ones are assumed: Dst, "/" and GET.
	Host, Path, Method string
	// Headers of the request, beside the host.
	Headers []Header
	// TLS says that the client speaks TLS, with this server name (lower case) and these protocols in its offer. Without it the
	// protocols are those that http_inspector finds.
	TLS  bool
	SNI  string
	ALPN []string
	// Src is where from; the zero value is assumed to be what the kernel would choose. The port may be 0.
	Src netip.AddrPort
	// From names the caller, as Options.Source understands it. Or Cgroup is its cgroup, by its name below the root or its directory,
	// or PID its process id; at most one of the three is set.
	From, Cgroup string
	PID          int
	// UDP asks about a datagram.
	UDP bool
	// AssumeCaptured goes on although the kernel does not give the connection to weir.
	AssumeCaptured bool
}

// Header is one request header.
type Header struct{ Name, Value string }

// Bounds of a question.
const (
	maxHeaders = 100
	maxPID     = 1 << 22 // PID_MAX_LIMIT, include/linux/threads.h
)

// ParseQuery reads the parameters of a question: dst=IP:PORT, and optionally host, path, method, header=NAME:VALUE (any number
// of times), udp, tls, sni, alpn (repeated or separated by commas), src=IP or IP:PORT, from, cgroup or pid, and assume_captured. The
// error names every parameter that is wrong and why.
func ParseQuery(params url.Values) (*Query, error) {
	q := &Query{}
	var errs []error
	known := fields()
	for _, name := range slices.Sorted(maps.Keys(params)) {
		parse := known[name]
		if parse == nil {
			errs = append(errs, fmt.Errorf("%s: there is no such parameter", name))
			continue
		}
		for _, value := range params[name] {
			if err := parse(q, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	if len(errs) == 0 {
		errs = append(errs, q.check())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return q, nil
}

// fields are the parameters by name. Of those that are there once, the last value counts.
func fields() map[string]func(*Query, string) error {
	return map[string]func(*Query, string) error{
		"dst":             (*Query).setDst,
		"host":            (*Query).setHost,
		"path":            (*Query).setPath,
		"method":          (*Query).setMethod,
		"header":          (*Query).addHeader,
		"tls":             func(q *Query, v string) error { return setBool(&q.TLS, v) },
		"sni":             (*Query).setSNI,
		"alpn":            (*Query).addALPN,
		"src":             (*Query).setSrc,
		"from":            func(q *Query, v string) error { q.From = v; return nil },
		"cgroup":          func(q *Query, v string) error { q.Cgroup = v; return nil },
		"pid":             (*Query).setPID,
		"udp":             func(q *Query, v string) error { return setBool(&q.UDP, v) },
		"assume_captured": func(q *Query, v string) error { return setBool(&q.AssumeCaptured, v) },
	}
}

func (q *Query) check() error {
	switch {
	case !q.Dst.IsValid():
		return errors.New("dst: is missing; give the destination as IP:PORT")
	case q.From != "" && (q.Cgroup != "" || q.PID != 0):
		return errors.New("from: it says who calls; give neither pid nor cgroup")
	case q.Cgroup != "" && q.PID != 0:
		return errors.New("pid: the process has a cgroup; give one of pid and cgroup")
	}
	if q.UDP && (q.TLS || q.SNI != "" || len(q.ALPN) > 0) {
		return errors.New("udp: a datagram has no TLS")
	}
	q.TLS = q.TLS || q.SNI != "" || slices.ContainsFunc(q.ALPN, offered)
	return nil
}

func (q *Query) setDst(v string) error {
	dst, err := netip.ParseAddrPort(v)
	if err != nil {
		return fmt.Errorf("%q is not IP:PORT", v)
	}
	if dst.Port() == 0 {
		return fmt.Errorf("%q: there are no connections to port 0", v)
	}
	q.Dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	return nil
}

func (q *Query) setHost(v string) error {
	if v == "" || !httpguts.ValidHostHeader(v) {
		return fmt.Errorf("%q cannot be a host", v)
	}
	q.Host = v
	return nil
}

func (q *Query) setPath(v string) error {
	if v == "" || v[0] != '/' && v != "*" {
		return fmt.Errorf("%q does not begin with a slash", v)
	}
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("%q has spaces or control characters", v)
	}
	q.Path = v
	return nil
}

func (q *Query) setMethod(v string) error {
	if !httpguts.ValidHeaderFieldName(v) { // both are tokens, RFC 9110 section 5.6.2
		return fmt.Errorf("%q cannot be a method", v)
	}
	q.Method = v
	return nil
}

func (q *Query) addHeader(v string) error {
	name, value, found := strings.Cut(v, ":")
	value = strings.TrimSpace(value)
	switch {
	case !found:
		return fmt.Errorf("%q is not NAME:VALUE", v)
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("%q cannot be a header name", name)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("%s: %q cannot be a header value", name, value)
	case strings.EqualFold(name, "host"):
		return q.setHost(value)
	case len(q.Headers) == maxHeaders:
		return fmt.Errorf("there are more than %d", maxHeaders)
	}
	q.Headers = append(q.Headers, Header{strings.ToLower(name), value})
	return nil
}

func (q *Query) setSNI(v string) error {
	if v == "" || net.ParseIP(v) != nil || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("%q cannot be a server name", v) // addresses cannot: RFC 6066 section 3
	}
	q.SNI = strings.ToLower(v)
	return nil
}

func (q *Query) addALPN(v string) error {
	for p := range strings.SplitSeq(v, ",") {
		if p == "" || len(p) > 255 || len(q.ALPN) == maxHeaders {
			return fmt.Errorf("%q is not a list of protocols", v)
		}
		q.ALPN = append(q.ALPN, p)
	}
	return nil
}

// offered tells whether a protocol is one that clients offer by ALPN, and not what http_inspector calls what it sees in plain text
// alone.
func offered(protocol string) bool {
	return protocol != httpinspector.H2C && protocol != httpinspector.HTTP10
}

func (q *Query) setSrc(v string) error {
	src, err := netip.ParseAddrPort(v)
	if err != nil {
		addr, err := netip.ParseAddr(v)
		if err != nil {
			return fmt.Errorf("%q is neither IP nor IP:PORT", v)
		}
		src = netip.AddrPortFrom(addr, 0)
	}
	q.Src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	return nil
}

func (q *Query) setPID(v string) error {
	pid, err := strconv.Atoi(v)
	if err != nil || pid < 1 || pid > maxPID {
		return fmt.Errorf("%q is not a process id", v)
	}
	q.PID = pid
	return nil
}

// setBool reads a flag, which needs no value.
func setBool(to *bool, v string) error {
	switch v {
	case "", "1", "true", "y":
		*to = true
	case "0", "false", "n":
		*to = false
	default:
		return fmt.Errorf("%q is neither true nor false", v)
	}
	return nil
}

// Params is the reverse of ParseQuery.
func (q *Query) Params() url.Values {
	v := url.Values{"dst": {q.Dst.String()}}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("host", q.Host)
	set("path", q.Path)
	set("method", q.Method)
	for _, h := range q.Headers {
		v.Add("header", h.Name+":"+h.Value)
	}
	set("sni", q.SNI)
	set("alpn", strings.Join(q.ALPN, ","))
	switch {
	case q.Src.IsValid():
		v.Set("src", q.Src.String())
	}
	set("from", q.From)
	set("cgroup", q.Cgroup)
	if q.PID != 0 {
		v.Set("pid", strconv.Itoa(q.PID))
	}
	if q.TLS && q.SNI == "" && !slices.ContainsFunc(q.ALPN, offered) {
		v.Set("tls", "true")
	}
	if q.UDP {
		v.Set("udp", "true")
	}
	if q.AssumeCaptured {
		v.Set("assume_captured", "true")
	}
	return v
}

// String is the question in words, with what is assumed.
func (q *Query) String() string {
	text := "connection to " + q.Dst.String()
	if q.UDP {
		text = "datagram to " + q.Dst.String()
	}
	if q.Src.IsValid() {
		text += " from " + q.Src.String()
	}
	if q.TLS {
		text += ", TLS"
		if q.SNI != "" {
			text += " for " + q.SNI
		}
		if len(q.ALPN) > 0 {
			text += " (" + strings.Join(q.ALPN, ", ") + ")"
		}
	}
	switch {
	case q.From != "":
		text += ", by " + q.From
	case q.PID != 0:
		text += ", by process " + strconv.Itoa(q.PID)
	case q.Cgroup != "":
		text += ", by cgroup " + q.Cgroup
	}
	return text
}

// request is the request as the connection manager would see it over plain text or TLS. assumed tells that its host was not
// given.
func (q *Query) request(tls bool) (r *message.Request, assumed bool) {
	r = &message.Request{Method: q.Method, Authority: q.Host, Path: q.Path, Scheme: "http", Version: message.HTTP11, ContentLength: -1}
	if tls {
		r.Scheme = "https"
	}
	if r.Method == "" {
		r.Method = "GET"
	}
	if r.Path == "" {
		r.Path = "/"
	}
	if r.Authority == "" {
		assumed = true
		r.Authority = q.Dst.String()
		if port := q.Dst.Port(); !tls && port == 80 || tls && port == 443 {
			if r.Authority = q.Dst.Addr().String(); q.Dst.Addr().Is6() {
				r.Authority = "[" + r.Authority + "]"
			}
		}
	}
	for _, h := range q.Headers {
		r.Headers.Add(h.Name, h.Value)
	}
	if !r.Headers.Has(message.XForwardedProto) {
		r.Headers.SetID(message.XForwardedProto, r.Scheme)
	}
	return r, assumed
}
