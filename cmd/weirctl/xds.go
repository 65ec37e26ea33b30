package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes" // resources may hold any message of the API
	"github.com/weir-proxy/weir/pkg/controlplane"
)

const xdsHelp = `usage: weirctl xds serve --listen ADDR [OPTIONS] DIR

Serves the xDS v3 resources in DIR to every client that asks, and follows changes of DIR. It is a control plane for
development and tests: all clients get the same resources.

DIR holds files that end in .yaml, .yml or .json (its subdirectories are left out). A file holds one resource with its
"@type", a list of such, a mapping with the key "resources", or several YAML documents of these. The resources are
Listener, RouteConfiguration, Cluster, ClusterLoadAssignment, Secret and
TypedExtensionConfig.

When files do not decode, all that is wrong is printed with file and line, and the last good resources are served on.
Each client that comes and goes, and each response that it takes (ACK) or rejects (NACK), is printed as one line.

  --listen ADDR         address to listen at: HOST:PORT, :PORT or unix:PATH
  --tls-cert FILE       serve TLS with this certificate chain (PEM) ...
  --tls-key FILE        ... and its key
  --tls-client-ca FILE  ask clients for a certificate of one of these authorities (PEM)

Both protocols are spoken: state of the world and delta, the aggregated service and the service of each type. A client's
bootstrap names the server as a cluster with HTTP/2, for example:

  dynamic_resources:
    ads_config: { api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{ envoy_grpc: { cluster_name: xds } }] }
    lds_config: { resource_api_version: V3, ads: {} }
    cds_config: { resource_api_version: V3, ads: {} }

Ends with status 0 on SIGINT and SIGTERM.
`

// xdsArguments are the parsed arguments of xds serve.
type xdsArguments struct {
	listen, dir, cert, key, clientCA string
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
		fmt.Fprintf(std.err, "weirctl xds: %v\n\n%s", err, xdsHelp)
		return exitUsage
	}
	if err := a.serve(ctx, std); err != nil {
		fmt.Fprintf(std.err, "weirctl xds: %v\n", err)
		return exitError
	}
	return exitOK
}

func parseXDS(args []string) (a xdsArguments, err error) {
	if len(args) == 0 || args[0] != "serve" {
		return a, errors.New("the command is: serve")
	}
	flags := map[string]*string{"--listen": &a.listen, "--tls-cert": &a.cert, "--tls-key": &a.key, "--tls-client-ca": &a.clientCA}
	for args = args[1:]; len(args) > 0; args = args[1:] {
		name, value, joined := strings.Cut(args[0], "=")
		into := flags[name]
		switch {
		case into == nil && strings.HasPrefix(name, "-"):
			return a, fmt.Errorf("unknown option %s", name)
		case into == nil && a.dir != "":
			return a, fmt.Errorf("unexpected argument %q: there is one DIR", args[0])
		case into == nil:
			a.dir = args[0]
		case joined:
			*into = value
		case len(args) < 2:
			return a, fmt.Errorf("%s needs a value", name)
		default:
			*into, args = args[1], args[1:]
		}
	}
	switch {
	case a.dir == "":
		return a, errors.New("DIR is missing")
	case a.listen == "":
		return a, errors.New("--listen is missing")
	case (a.cert == "") != (a.key == ""):
		return a, errors.New("--tls-cert and --tls-key go together")
	case a.clientCA != "" && a.cert == "":
		return a, errors.New("--tls-client-ca needs --tls-cert and --tls-key")
	}
	return a, nil
}

// serve runs the server until ctx ends.
func (a xdsArguments) serve(ctx context.Context, std stdio) error {
	config, err := a.tls()
	if err != nil {
		return err
	}
	s := controlplane.New(controlplane.Options{
		Log:     slog.New(slog.NewTextHandler(std.err, nil)),
		OnEvent: func(e controlplane.Event) { printEvent(std.out, e) },
		TLS:     config,
	})
	if err := s.LoadDir(a.dir); err != nil {
		return err
	}
	l, err := listenXDS(ctx, a.listen)
	if err != nil {
		return err
	}
	printServed(std.out, l.Addr(), a.dir, s.Summary())

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan error, 1)
	go func() {
		watched <- s.WatchDir(ctx, a.dir)
		stop() // a server that no longer follows its files would mislead
	}()
	err = s.Serve(ctx, l)
	stop()
	return errors.Join(err, <-watched)
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

// tls is the server's TLS configuration; nil is plain text.
func (a xdsArguments) tls() (*tls.Config, error) {
	if a.cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(a.cert, a.key)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if a.clientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(a.clientCA)
	if err != nil {
		return nil, fmt.Errorf("load client authorities: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load client authorities: %s holds no certificate", a.clientCA)
	}
	return config, nil
}

func printServed(w io.Writer, at net.Addr, dir string, types []controlplane.TypeSummary) {
	fmt.Fprintf(w, "serving %s at %s\n", dir, at)
	if len(types) == 0 {
		fmt.Fprintln(w, "  no resources yet")
	}
	for _, t := range types {
		fmt.Fprintf(w, "  %-22s %-12s %s\n", t.Type, t.Version, strings.Join(t.Names, " "))
	}
}

// printEvent writes one line.
func printEvent(w io.Writer, e controlplane.Event) {
	protocol, service := "state of the world", "ADS"
	if e.Delta {
		protocol = "delta"
	}
	who := fmt.Sprintf("%s node=%s peer=%s", time.Now().Format(time.TimeOnly), e.Node, e.Peer)
	if e.Type != "" {
		service = e.Type
	}
	switch e.Kind {
	case controlplane.Connected:
		fmt.Fprintf(w, "%s connected (%s, %s)\n", who, service, protocol)
	case controlplane.Disconnected:
		fmt.Fprintf(w, "%s disconnected (%s, %s)\n", who, service, protocol)
	case controlplane.Acknowledged:
		fmt.Fprintf(w, "%s ACK  %s %s%s\n", who, e.Type, e.Version, names(e))
	case controlplane.Rejected:
		fmt.Fprintf(w, "%s NACK %s %s%s: %s\n", who, e.Type, e.Version, names(e), strings.ReplaceAll(strings.TrimSpace(e.Err), "\n", "; "))
	}
}

// maxNames bounds the names in a line.
const maxNames = 8

// names lists what a response held: " [a b -gone]".
func names(e controlplane.Event) string {
	list := e.Names[:len(e.Names):len(e.Names)]
	for _, gone := range e.Removed {
		list = append(list, "-"+gone)
	}
	if len(list) == 0 {
		return " [nothing]"
	}
	if n := len(list); n > maxNames {
		list = append(list[:maxNames:maxNames], fmt.Sprintf("and %d more", n-maxNames))
	}
	return " [" + strings.Join(list, " ") + "]"
}
