package explain

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
)

// target is a cluster that the connection or the request may go to.
type target struct {
	name string
	// share of a weighted split, "" when there is no other cluster.
	share string
	high  bool
	// code answers requests when there is no such cluster; 0 for TCP.
	code int
	// fetched says who waits while the cluster is fetched that is not there; empty when it is not fetched.
	fetched string
	// rewritten says how the request differs when it is sent there.
	rewritten string
	// request is what is sent there, nil for TCP.
	request *message.Request
}

func targetsText(list []target) string {
	var parts []string
	for i := range list {
		text := "cluster " + list[i].name
		if list[i].share != "" {
			text += " (" + list[i].share + ")"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "no cluster"
	}
	return strings.Join(parts, ", ")
}

// forward ends the answer with the clusters that something is sent to.
func (w *walk) forward(what string, targets []target) {
	outcome := OutcomeNoHost
	var parts []string
	for i := range targets {
		t := &targets[i]
		text, reachable := w.cluster(t)
		if reachable {
			outcome = OutcomeForwarded
		}
		if t.share != "" {
			text = t.share + " " + text
		}
		parts = append(parts, text)
	}
	w.verdict(outcome, w.prefix+" and "+what+" "+strings.Join(parts, "; ")+".")
}

// cluster shows a cluster. It gives the end of the verdict, and whether there is an endpoint to reach.
func (w *walk) cluster(t *target) (text string, reachable bool) {
	c := w.opt.Cluster(t.name)
	if c == nil {
		s := w.step("cluster", t.name+": there is no such cluster")
		missing := ", which does not exist: "
		if t.fetched != "" {
			s.note("It is not there yet: %s.", t.fetched)
			missing = ", which does not exist yet: " + t.fetched + ", and without it "
		}
		if t.code == 0 {
			return "to cluster " + t.name + missing + "the connection is reset", false
		}
		return fmt.Sprintf("to cluster %s%sthe answer is %d", t.name, missing, t.code), false
	}
	cfg := c.Config()
	s := w.step("cluster", cfg.Name)
	if t.share != "" {
		s.Result += ", " + t.share
	}
	s.detail("version", "%s", version(&cfg.Resource))
	w.endpointSource(s, cfg)
	s.detail("balancing", "%s", balancing(cfg))
	s.detail("transport", "%s", w.upstreamTransport(cfg))
	if t.request != nil {
		w.drops(s, cfg)
		s.detail("protocol", "%s", [...]string{"HTTP/1.1", "HTTP/2", "by ALPN", "that of the downstream"}[cfg.HTTP.Protocol])
		w.upstreamFilters(s, cfg.Filters)
	}
	if t.rewritten != "" {
		s.detail("rewritten", "%s", t.rewritten)
	}
	w.breakers(s, c, t.high)
	if cfg.Type == model.ClusterOriginalDst {
		return w.originalDst(s, cfg, t)
	}
	hosts := c.Hosts()
	if len(hosts) == 0 {
		s.note("The cluster has no endpoints.")
		return "to cluster " + t.name + ", which has no endpoints: " + refused(t), false
	}
	for _, h := range hosts {
		s.Endpoints = append(s.Endpoints, endpoint(h))
		if h.Pipe == "" && w.isSelf(h.Address) {
			s.note("%s is weir itself, which is never connected to.", h.Address)
		}
	}
	text, found := w.balance(s, cfg, hosts)
	if text = "to cluster " + t.name + ", " + text; !found {
		text += ": " + refused(t)
	}
	return text, found
}

// refused is what the client sees when there is no endpoint.
func refused(t *target) string {
	if t.code == 0 {
		return "the connection is reset"
	}
	return "the answer is 503"
}

// assignment is what the endpoints of a cluster come from, nil when it has not come yet.
func (w *walk) assignment(cfg *model.Cluster) *model.LoadAssignment {
	if cfg.NeedsEDS() {
		return w.opt.Endpoints(cfg.EDSName())
	}
	return cfg.Inline
}

// drops tells of requests that are answered 503 because the control plane or the runtime said so.
func (w *walk) drops(s *Step, cfg *model.Cluster) {
	if n, ok := w.opt.Runtime.Number(model.RuntimeMaintenance + cfg.Name); ok && n > 0 {
		s.note("%d%% of the requests that get here are answered 503, by runtime key %s%s.", min(n, 100), model.RuntimeMaintenance, cfg.Name)
	}
	a := w.assignment(cfg)
	if a == nil {
		return
	}
	most := 100.0
	if n, ok := w.opt.Runtime.Number(model.RuntimeDropLimit); ok {
		most = float64(n)
	}
	for _, d := range a.DropOverloads {
		s.note("%v%% of the requests that get here are dropped with 503, by drop_overloads %s.", min(d.Percent, most), d.Category)
	}
}

// endpointSource says where the endpoints come from.
func (w *walk) endpointSource(s *Step, cfg *model.Cluster) {
	if !cfg.NeedsEDS() {
		s.detail("type", "%s", cfg.Type)
		return
	}
	a := w.assignment(cfg)
	if a == nil {
		s.detail("type", "EDS: %s has not come yet", cfg.EDSName())
		return
	}
	s.detail("type", "EDS: %s, %s", cfg.EDSName(), version(&a.Resource))
}

func balancing(cfg *model.Cluster) string {
	text := cfg.LB.String()
	switch {
	case cfg.LB == model.LBLeastRequest && cfg.LeastRequest.FullScan:
		text += " of all endpoints"
	case cfg.LB == model.LBLeastRequest:
		text += fmt.Sprintf(" of %d choices", cfg.LeastRequest.ChoiceCount)
	case cfg.LB == model.LBRingHash || cfg.LB == model.LBMaglev:
		text += " by the hash of the request, at random without one"
	}
	if cfg.SlowStart.Window > 0 {
		text += ", slow start over " + limit(cfg.SlowStart.Window)
	}
	return text + ", connect timeout " + limit(cfg.ConnectTimeout)
}

func (w *walk) upstreamTransport(cfg *model.Cluster) string {
	text := "plain text"
	if cfg.TLS != nil {
		text = w.upstreamTLS(cfg.TLS)
		if cfg.TLS.AutoSNI && !cfg.TLS.AutoHostSNI && cfg.SNIHeader != "" {
			text += "; header " + cfg.SNIHeader + " goes before the host"
		}
	}
	if n := len(cfg.TransportSocketMatches); n > 0 {
		text += fmt.Sprintf(", unless one of %s says otherwise for an endpoint", counted(int64(n), "transport_socket_match rule"))
	}
	return text
}

// upstreamFilters names what each attempt goes through on its way to a host of the cluster.
func (w *walk) upstreamFilters(s *Step, filters []*model.HTTPFilter) {
	if len(filters) == 0 {
		return
	}
	names := make([]string, len(filters))
	for i, f := range filters {
		names[i] = w.filterName(f.Name, f.Discovery)
	}
	s.detail("filters", "%s", strings.Join(names, ", "))
}

func (w *walk) upstreamTLS(t *model.UpstreamTLS) string {
	text := "TLS, "
	switch {
	case t.AutoHostSNI:
		text += "server name of the endpoint's hostname"
	case t.AutoSNI:
		text += "server name of the request's host"
	case t.SNI != "":
		text += "server name " + t.SNI
	default:
		text += "no server name"
	}
	return text + "; " + w.verification(t)
}

// verification says how the peer's certificate is checked.
func (w *walk) verification(t *model.UpstreamTLS) string {
	v := t.Validation
	if v == nil {
		return "the peer is NOT verified"
	}
	inline, by := v.Inline, "an inline CA"
	if v.Secret != "" {
		by = "secret " + v.Secret
		secret := w.opt.Secret(v.Secret)
		if secret == nil || secret.Validation == nil {
			return "secret " + v.Secret + " for verification is not there yet: handshakes fail"
		}
		inline = merged(inline, secret.Validation)
	}
	if inline == nil || inline.Roots == nil && len(inline.CertificateHashes)+len(inline.SPKIHashes) == 0 {
		return "the peer is NOT verified: there is no trusted CA"
	}
	if inline.AcceptUntrusted {
		return "the peer is checked, but accepted also when it is not trusted"
	}
	if v.Secret == "" && inline.File != "" {
		by = inline.File
	}
	text := "the peer is verified by " + by
	if n := len(inline.SANs); n > 0 {
		return text + ", and its name by " + counted(int64(n), "matcher")
	}
	if t.AutoSAN {
		return text + ", and its name by the server name"
	}
	return text + "; any name is accepted"
}

// merged is a secret as an inline context refines it, as far as verification shows it.
func merged(inline, secret *model.Validation) *model.Validation {
	if inline == nil {
		return secret
	}
	out := *secret
	out.Roots = cmp.Or(secret.Roots, inline.Roots)
	out.SANs = append(slices.Clip(out.SANs), inline.SANs...)
	out.CertificateHashes = append(slices.Clip(out.CertificateHashes), inline.CertificateHashes...)
	out.SPKIHashes = append(slices.Clip(out.SPKIHashes), inline.SPKIHashes...)
	out.AcceptUntrusted = out.AcceptUntrusted || inline.AcceptUntrusted
	return &out
}

// placed is a cluster that tells how many places are taken at a priority: of max_connections, by TCP connections and by sessions, and
// of max_requests.
type placed interface {
	Places(priority int) int64
	Requests(priority int) int64
}

func (w *walk) breakers(s *Step, c Cluster, high bool) {
	places, ok := c.(placed)
	if ok && w.q.UDP {
		s.detail("breakers", "priority default: sessions and TCP connections %d of %d (max_connections); no other bound holds for sessions", places.Places(0),
			cluster.Thresholds(c.Config(), 0, w.opt.Runtime).MaxConnections)
		return
	}
	priority, name := 0, "default"
	if high {
		priority, name = 1, "high"
	}
	b := cluster.Thresholds(c.Config(), priority, w.opt.Runtime)
	st := c.Stats()
	open, requests := int64(st.CxActive.Value()), int64(st.RqActive.Value())
	if ok { // those that the kernel has made past weir are counted there, too, and bounded apart
		open, requests = places.Places(priority), places.Requests(priority)
	}
	s.detail("breakers", "priority %s: connections %d of %d, pending requests %d of %d, requests %d of %d, retries at most %d", name,
		open, b.MaxConnections, st.RqPendingActive.Value(), b.MaxPendingRequests,
		requests, b.MaxRequests, b.MaxRetries)
}

func endpoint(h *upstream.Host) Endpoint {
	e := Endpoint{Address: h.Name(), Hostname: h.Hostname, Health: healthName(h), Weight: h.Weight, Priority: h.Priority}
	if h.Stats != nil {
		e.ActiveConnections, e.ActiveRequests = h.Stats.CxActive.Load(), h.Stats.RqActive.Load()
	}
	if l := h.Locality; l != nil {
		e.Locality = strings.Trim(l.Region+"/"+l.Zone+"/"+l.SubZone, "/")
	}
	return e
}

// healthName is how a host is, with the check that says so unless the control plane does.
func healthName(h *upstream.Host) string {
	name := [...]string{"healthy", "healthy", "unhealthy", "draining", "timeout", "degraded"}[h.Health]
	switch {
	case h.Flags&upstream.PendingActiveHC != 0:
		name = "unhealthy (not checked yet)"
	case h.Flags&upstream.ActiveHCTimeout != 0 && h.Flags&upstream.FailedActiveHC != 0:
		name = "unhealthy (its health check times out)"
	case h.Flags&upstream.FailedActiveHC != 0:
		name = "unhealthy (fails its health checks)"
	case h.Flags&upstream.FailedOutlierCheck != 0:
		name = "unhealthy (ejected by outlier detection)"
	case h.Flags&upstream.DegradedActiveHC != 0 && h.Healthy() != h.Degraded():
		name = "degraded (as its health check says)"
	}
	if h.Flags&upstream.PendingDynamicRemoval != 0 {
		name += ", removed by the control plane"
	}
	return name
}

// balance asks the balancer itself whether it finds a host, and says which of the hosts come into question. The set is its own,
// so that no turn of the cluster's is taken.
func (w *walk) balance(s *Step, cfg *model.Cluster, hosts []*upstream.Host) (text string, found bool) {
	o := lb.Options{Policy: cfg.LB, LeastRequest: cfg.LeastRequest, Hash: cfg.HashLB, PanicThreshold: cfg.PanicThreshold, FailOnPanic: cfg.FailOnPanic, IgnoreNew: cfg.IgnoreNewHosts, Rand: rand.Uint64}
	if a := w.assignment(cfg); a != nil {
		o.Overprovisioning = a.OverprovisioningFactor
	}
	set := lb.New(slices.Clone(hosts), o)
	host, panicked := set.Pick(&upstream.PickContext{})
	if host == nil && panicked {
		s.note("Fewer than %v%% of the endpoints are available, and fail_traffic_on_panic lets nobody take traffic then.", cfg.PanicThreshold)
		return "too few of its endpoints are available", false
	}
	if host == nil {
		s.note("The balancer finds no host that may take traffic.")
		return "none of its endpoints may take traffic", false
	}
	if panicked {
		s.note("Fewer than %v%% of the endpoints are available: their health is ignored (healthy_panic_threshold).", cfg.PanicThreshold)
	}
	if slices.ContainsFunc(hosts, func(h *upstream.Host) bool { return h.Priority != hosts[0].Priority }) {
		s.note("There are several priorities; health decides how the load is spread over them.")
	}
	healthy, _ := set.Counts()
	switch {
	case len(hosts) == 1:
		return "to its one endpoint " + hosts[0].Name(), true
	case healthy == len(hosts):
		return fmt.Sprintf("to one of its %d endpoints", len(hosts)), true
	}
	return fmt.Sprintf("to one of its %d endpoints, %d of them healthy", len(hosts), healthy), true
}

// originalDst says where a cluster sends what it sends to its original destination.
func (w *walk) originalDst(s *Step, cfg *model.Cluster, t *target) (string, bool) {
	dst, by := w.q.Dst, "the original destination"
	if w.direct {
		dst = netip.AddrPort{}
	}
	if header := cmp.Or(cfg.OriginalDst.HTTPHeader, "x-envoy-original-dst-host"); cfg.OriginalDst.UseHTTPHeader && t.request != nil {
		if value, ok := t.request.Lookup(header); ok {
			if named, err := netip.ParseAddrPort(value); err == nil {
				dst, by = named, "header "+header
			} else {
				s.note("Header %s is %q, which is not IP:PORT.", header, value)
			}
		}
	}
	if !dst.IsValid() {
		s.note("Nothing redirected the connection, so it has no original destination.")
		return "to cluster " + t.name + ", which finds no destination: " + refused(t), false
	}
	if port := cfg.OriginalDst.PortOverride; port != 0 {
		dst = netip.AddrPortFrom(dst.Addr(), port)
	}
	s.detail("endpoint", "%s, by %s", dst, by)
	if w.isSelf(dst) {
		s.note("That is weir itself, which is never connected to.")
		return "to cluster " + t.name + ", whose destination is weir itself: " + refused(t), false
	}
	return "to cluster " + t.name + ", to " + dst.String() + " itself", true
}
