package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/explain"
)

const explainHelp = `usage: weirctl explain [OPTIONS] [SRC] DST

Asks the running weir what would become of a connection from SRC to DST, and prints each step: who the caller is, whether the
kernel captures the connection and by which rule, the listener, the filter chain, the route, the cluster and its endpoints.
The kernel's part is decided by the kernel's own programs. Nothing is connected to and nothing is counted.

SRC is who connects, as the daemon sees it: host (any process in weir's network namespace), pid:N, process:NAME, cgroup:PATH,
container:ID (its first digits), netns:NAME, or an IP address of this host or another one. The kind may be left out where it is
clear. Without SRC the answer holds for any captured process in weir's network namespace.

DST is IP:PORT, NAME:PORT, a URL, or listener:NAME, which is where that listener listens; udp:IP:PORT is a datagram. A name is
resolved here, and gives the host of the request.

  --admin ADDR      admin interface of the daemon: HOST:PORT or unix:PATH (default: 127.0.0.1:9901)
  -c FILE           take the address of the admin interface from this bootstrap configuration
  --host HOST       host of the request (default: that of DST)
  --path PATH       its path (default: that of the URL, or /)
  --method METHOD   its method (default: GET)
  --header K:V      one of its headers; may be repeated
  --udp             a datagram of UDP, not a connection
  --tls             the client speaks TLS (default for https URLs)
  --sni NAME        with this server name
  --alpn PROTOCOLS  offering these protocols, separated by commas; h2c or http/1.0: what http_inspector finds in plain text
  --src ADDR        the source address that filter chains see, IP or IP:PORT
  --cgroup PATH     the same as SRC cgroup:PATH, without a look at its processes
  --pid N           the same as SRC pid:N
  --assume-captured go on although the kernel does not give the connection to weir
  --json            print JSON
`

// explainTimeout bounds an answer.
const explainTimeout = 30 * time.Second

// explainArguments are the command line of explain.
type explainArguments struct {
	admin, config, src, dst string
	json                    bool
	// params are the daemon's, but for dst.
	params url.Values
}

func runExplain(ctx context.Context, args []string, std stdio) int {
	a, err := parseExplain(args)
	if err != nil {
		if errors.Is(err, errHelp) {
			fmt.Fprint(std.out, explainHelp)
			return exitOK
		}
		return misuse(std, "explain", err, explainHelp)
	}
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	if err := a.resolve(ctx, std.err); err != nil {
		fmt.Fprintf(std.err, "weirctl explain: %v\n", err)
		return exitError
	}
	text, err := a.ask(ctx)
	if err != nil {
		fmt.Fprintf(std.err, "weirctl explain: %v\n", err)
		return exitError
	}
	if _, err := io.WriteString(std.out, text); err != nil {
		return exitError
	}
	return exitOK
}

var errHelp = errors.New("help was asked for")

// parseExplain reads the command line. Values may follow their option after a space or after "=".
func parseExplain(args []string) (*explainArguments, error) {
	a := &explainArguments{params: url.Values{}}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if !strings.HasPrefix(arg, "-") {
			if a.src != "" {
				return nil, fmt.Errorf("unexpected argument %q: the source is %s, the destination %s", arg, a.src, a.dst)
			}
			a.src, a.dst = a.dst, arg
			continue
		}
		name, value, joined := strings.Cut(arg, "=")
		if done, err := a.flag(name, joined); done || err != nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		if !joined {
			if len(args) == 0 {
				return nil, fmt.Errorf("%s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		if err := a.option(name, value); err != nil {
			return nil, err
		}
	}
	if a.dst == "" {
		return nil, errors.New("DST is missing")
	}
	if a.src != "" {
		a.params.Set("from", a.src)
	}
	if rest, ok := strings.CutPrefix(a.dst, "udp:"); ok {
		a.dst = rest
		a.params.Set("udp", "true")
	}
	if a.admin != "" && a.config != "" {
		return nil, errors.New("--admin and -c both say where the admin interface is; give one")
	}
	return a, nil
}

// flag takes an option without a value.
func (a *explainArguments) flag(name string, joined bool) (done bool, err error) {
	switch name {
	case "-h", "--help":
		return true, errHelp
	case "--json":
		a.json = true
	case "--tls":
		a.params.Set("tls", "true")
	case "--udp":
		a.params.Set("udp", "true")
	case "--assume-captured":
		a.params.Set("assume_captured", "true")
	default:
		return false, nil
	}
	if joined {
		return true, fmt.Errorf("%s has no value", name)
	}
	return true, nil
}

func (a *explainArguments) option(name, value string) error {
	switch name {
	case "--admin":
		a.admin = value
	case "-c", "--config-path":
		a.config = value
	case "--host", "--path", "--method", "--sni", "--src", "--cgroup", "--pid":
		a.params.Set(name[2:], value)
	case "--header", "--alpn":
		a.params.Add(name[2:], value)
	default:
		return unknownOption(name, explainHelp)
	}
	return nil
}

// resolve turns the destination into an address, and checks the question before anybody is asked.
func (a *explainArguments) resolve(ctx context.Context, notes io.Writer) error {
	if name, ok := strings.CutPrefix(a.dst, "listener:"); ok {
		var err error
		if a.dst, err = a.listener(ctx, name); err != nil {
			return err
		}
	}
	host, port, err := a.destination()
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil || len(addrs) == 0 {
			return fmt.Errorf("resolve %s: %w; give the address as DST and the name with --host", host, err)
		}
		if addr = addrs[0].Unmap(); len(addrs) > 1 {
			fmt.Fprintf(notes, "%s has %d addresses; this is about the first, %s\n", host, len(addrs), addr)
		}
	}
	a.params.Set("dst", netip.AddrPortFrom(addr, port).String())
	if _, err := explain.ParseQuery(a.params); err != nil {
		return err
	}
	if a.json {
		a.params.Set("format", "json")
	}
	return nil
}

// destination splits DST, and takes from it what the options do not say.
func (a *explainArguments) destination() (host string, port uint16, err error) {
	if strings.Contains(a.dst, "://") {
		return a.destinationURL()
	}
	host, text, err := net.SplitHostPort(a.dst)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("destination %q is neither IP:PORT, NAME:PORT, a URL nor listener:NAME", a.dst)
	}
	if port, err = portOf(text); err != nil {
		return "", 0, fmt.Errorf("destination %q: %w", a.dst, err)
	}
	if _, err := netip.ParseAddr(host); err != nil {
		authority := a.dst
		if port == 80 || port == 443 {
			authority = host
		}
		a.unlessGiven("host", authority)
	}
	return host, port, nil
}

func (a *explainArguments) destinationURL() (host string, port uint16, err error) {
	u, err := url.Parse(a.dst)
	if err != nil {
		return "", 0, fmt.Errorf("destination: %w", err)
	}
	switch u.Scheme {
	case "http":
		port = 80
	case "https":
		port = 443
		a.unlessGiven("tls", "true")
		if _, err := netip.ParseAddr(u.Hostname()); err != nil { // RFC 6066 section 3: no addresses
			a.unlessGiven("sni", u.Hostname())
		}
	default:
		return "", 0, fmt.Errorf("destination %q: the scheme is neither http nor https", a.dst)
	}
	if u.Hostname() == "" {
		return "", 0, fmt.Errorf("destination %q has no host", a.dst)
	}
	if text := u.Port(); text != "" {
		if port, err = portOf(text); err != nil {
			return "", 0, fmt.Errorf("destination %q: %w", a.dst, err)
		}
	}
	a.unlessGiven("host", u.Host)
	a.unlessGiven("path", u.RequestURI())
	return u.Hostname(), port, nil
}

func (a *explainArguments) unlessGiven(name, value string) {
	if !a.params.Has(name) {
		a.params.Set(name, value)
	}
}

func portOf(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port", text)
	}
	return uint16(n), nil
}

// ask puts the question to the daemon.
func (a *explainArguments) ask(ctx context.Context) (string, error) {
	return askAdmin(ctx, a.admin, a.config, "/weir/explain?"+a.params.Encode())
}
