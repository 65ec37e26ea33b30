package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes" // resources may hold any message of the API
	"github.com/weir-proxy/weir/pkg/controlplane"
)

const xdsHelp = `usage: weirctl xds serve --listen ADDR [OPTIONS] DIR

Serves the xDS v3 resources in DIR to the clients that ask, and follows changes of DIR: a control plane for a small fleet,
for development and for tests.

DIR holds files that end in .yaml, .yml, .json, .pb_text or .pb, in subdirectories as well; names that begin with a dot are
left out. A file holds one resource with its "@type", a list of such, a mapping with the key "resources", or several YAML
documents of these (.pb_text and .pb: a DiscoveryResponse). The resources are Listener, RouteConfiguration,
ScopedRouteConfiguration, VirtualHost, Cluster, ClusterLoadAssignment, LbEndpoint, Secret, Runtime and TypedExtensionConfig.
A name that the resource does not tell itself (LbEndpoint), and aliases, are told by a wrapper around it:

  "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
  name: xdstp://fleet/envoy.config.endpoint.v3.LbEndpoint/shop/1
  resource: { "@type": type.googleapis.com/envoy.config.endpoint.v3.LbEndpoint, endpoint: ... }

All resources are checked before they are served, as "weirctl validate" does. When something is wrong, all of it is printed
with file and line, and the last good resources are served on. Clients are told of a change in an order that never leaves
them with a reference to what they do not have. Versions are hashes of the content, the same after a restart.

Each client that comes and goes, and each response that it takes (ACK) or rejects (NACK), is printed as one line.

  --listen ADDR         address to listen at: HOST:PORT, :PORT or unix:PATH; may be given several times
  --status-listen ADDR  serve a status page there (/), /status.json, /resources.json, /metrics and /ready; whoever can reach
                        it reads all but the content of resources, so keep it local
  --group-by WHAT       give clients different resources, by WHAT of their node: cluster, id or metadata:KEY
                        (metadata:KEY.KEY for nested metadata). Then the directories of DIR are groups:
                          DIR/GROUP/     for the clients of that group (%2F in the name stands for a slash)
                          DIR/_default/  for the clients whose group has no directory
                          DIR/_shared/   for all; files right in DIR are for all as well
                        A group's own resource takes the place of a shared one of the same type and name. A fault in one
                        group's files leaves that group alone as it was. Groups may come and go while the server runs.
  --check WHAT          what to check resources for: weir (the default: what weir would reject is refused, and what it would
                        not act on is a warning on the status page) or api (the rules of the API alone, for other clients)
  --tls-cert FILE       serve TLS with this certificate chain (PEM) ...
  --tls-key FILE        ... and its key
  --client-ca FILE      ask clients for a certificate of one of these authorities (PEM). The three files are read again when
                        they change
  --quiet               print no lines about clients

On one port, all protocols are spoken: gRPC, state of the world and delta, the aggregated service and the service of each
type; polling, by POST of a DiscoveryRequest as JSON to /v3/discovery:clusters and so on; and client status discovery
(envoy.service.status.v3.ClientStatusDiscoveryService), which tells what every client was sent and what it made of it. A
client's bootstrap names the server as a cluster with HTTP/2, for example:

  dynamic_resources:
    ads_config: { api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{ envoy_grpc: { cluster_name: xds } }] }
    lds_config: { resource_api_version: V3, ads: {} }
    cds_config: { resource_api_version: V3, ads: {} }

Ends with status 0 on SIGINT and SIGTERM, after its clients were told.
`

// xdsArguments are the parsed arguments of xds serve.
type xdsArguments struct {
	listen              []string
	dir, status         string
	cert, key, clientCA string
	groupBy             controlplane.GroupBy
	apiOnly, quiet      bool
}

func runXDS(ctx context.Context, args []string, std stdio) int {
	for _, a := range args {
		if a == "--help" || a == "-h" {
			fmt.Fprint(std.out, xdsHelp)
			return exitOK
		}
	}
	a, err := parseXDS(args)
	if err != nil {
		return misuse(std, "xds serve", err, xdsHelp)
	}
	if err := a.serve(ctx, std); err != nil {
		fmt.Fprintf(std.err, "weirctl xds serve: %v\n", err)
		return exitError
	}
	return exitOK
}

func parseXDS(args []string) (a xdsArguments, err error) {
	if len(args) == 0 || args[0] != "serve" {
		return a, errors.New("the command is: serve")
	}
	var groupBy, check string
	flags := map[string]func(string){
		"--listen": func(v string) { a.listen = append(a.listen, v) }, "--status-listen": into(&a.status),
		"--tls-cert": into(&a.cert), "--tls-key": into(&a.key), "--client-ca": into(&a.clientCA), "--tls-client-ca": into(&a.clientCA),
		"--group-by": into(&groupBy), "--check": into(&check),
	}
	for args = args[1:]; len(args) > 0; args = args[1:] {
		name, value, joined := strings.Cut(args[0], "=")
		set := flags[name]
		switch {
		case args[0] == "--quiet":
			a.quiet = true
		case set == nil && strings.HasPrefix(name, "-"):
			return a, unknownOption(name, xdsHelp)
		case set == nil && a.dir != "":
			return a, fmt.Errorf("unexpected argument %q: there is one DIR", args[0])
		case set == nil:
			a.dir = args[0]
		case joined:
			set(value)
		case len(args) < 2:
			return a, fmt.Errorf("%s needs a value", name)
		default:
			set(args[1])
			args = args[1:]
		}
	}
	if a.groupBy, err = controlplane.ParseGroupBy(groupBy); err != nil {
		return a, fmt.Errorf("--group-by: %w", err)
	}
	return a, a.complete(check)
}

// into stores the value of an option.
func into(s *string) func(string) { return func(v string) { *s = v } }

// complete checks what the options say together.
func (a *xdsArguments) complete(check string) error {
	switch check {
	case "", "weir":
	case "api":
		a.apiOnly = true
	default:
		return fmt.Errorf("--check %s: it is weir or api", check)
	}
	switch {
	case a.dir == "":
		return errors.New("DIR is missing")
	case len(a.listen) == 0:
		return errors.New("--listen is missing")
	case (a.cert == "") != (a.key == ""):
		return errors.New("--tls-cert and --tls-key go together")
	case a.clientCA != "" && a.cert == "":
		return errors.New("--client-ca needs --tls-cert and --tls-key")
	}
	return nil
}

// serve runs the server until ctx ends.
func (a xdsArguments) serve(ctx context.Context, std stdio) error {
	log := slog.New(slog.NewTextHandler(std.err, nil))
	opt := controlplane.Options{Log: log, GroupBy: a.groupBy}
	if !a.quiet {
		opt.OnEvent = func(e controlplane.Event) { printEvent(std.out, e) }
	}
	var err error
	if opt.TLS, err = a.tls(log); err != nil {
		return err
	}
	if opt.Check, err = a.checker(); err != nil {
		return err
	}
	s := controlplane.New(opt)
	if err := s.LoadDir(a.dir); err != nil {
		return err
	}
	var listeners []net.Listener
	for _, addr := range a.listen {
		l, err := listenXDS(ctx, addr)
		if err != nil {
			return err
		}
		defer l.Close() // the server has closed it unless it was never started
		listeners = append(listeners, l)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	status, err := a.statusServer(ctx, s, listeners)
	if err != nil {
		return err
	}
	printServed(std.out, listeners, status, a.dir, s.Groups())
	return a.run(ctx, stop, s, listeners, status)
}

// run serves until ctx ends or something that must run does not: a server that no longer follows its files would mislead.
func (a xdsArguments) run(ctx context.Context, stop context.CancelFunc, s *controlplane.Server, listeners []net.Listener, status *statusServer) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	start := func(f func() error) {
		wg.Go(func() {
			err := f()
			stop()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	start(func() error { return s.WatchDir(ctx, a.dir) })
	for _, l := range listeners {
		start(func() error { return s.Serve(ctx, l) })
	}
	if status != nil {
		start(func() error { return status.serve(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func listenXDS(ctx context.Context, addr string) (net.Listener, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
		// A socket that nobody listens at any more is in the way; one in use stays.
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			if c, err := (&net.Dialer{}).DialContext(ctx, network, path); err == nil {
				_ = c.Close() // it was only to see whether someone answers
				return nil, fmt.Errorf("listen at unix:%s: someone listens there", path)
			}
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("listen at unix:%s: %w", path, err)
			}
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", addr, err)
	}
	return l, nil
}
