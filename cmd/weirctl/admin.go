package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/bootstrap"
)

// defaultAdmin is where Envoy's example configurations have their admin interface.
const defaultAdmin = "127.0.0.1:9901"

// maxAnswer bounds how much of a page is read, in bytes.
const maxAnswer = 16 << 20

// askAdmin gets a page of the admin interface at address, or where the bootstrap configuration in the file config says, or at
// defaultAdmin.
func askAdmin(ctx context.Context, address, config, page string) (string, error) {
	answer, err := openAdmin(ctx, address, config, page)
	if err != nil {
		return "", err
	}
	defer answer.Close()
	body, err := io.ReadAll(io.LimitReader(answer, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read weir's answer: %w", err)
	}
	return string(body), nil
}

// openAdmin is askAdmin for pages that are read as they come. The answer has to be closed.
func openAdmin(ctx context.Context, address, config, page string) (io.ReadCloser, error) {
	switch {
	case config != "":
		var err error
		if address, err = adminAddress(config); err != nil {
			return nil, err
		}
	case address == "":
		address = defaultAdmin
	}
	network, target := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, target = "unix", path
	} else if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("admin interface at %q: it is HOST:PORT or unix:PATH", address)
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, target)
	}}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weir"+page, nil)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("ask weir: %w", err)
	}
	watching, begun := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watchSilence(watching, cancel, network, target, address)
	}()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	begun()
	<-watched
	if err != nil {
		err = silence(ctx, err)
		cancel(nil)
		return nil, notAsked(err, address)
	}
	if resp.StatusCode != http.StatusOK {
		defer cancel(nil)
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("read weir's answer: %w", err)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\nadmin commands")
		return nil, fmt.Errorf("weir at %s answers %s: %s", address, resp.Status, first)
	}
	return &answer{resp.Body, cancel}, nil
}

// answer is one that is read as it comes; nothing of its request is left after Close.
type answer struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (a *answer) Close() error {
	defer a.cancel(nil)
	return a.ReadCloser.Close()
}

// notAsked says why there is no answer from weir at an address.
func notAsked(err error, address string) error {
	if around := new(url.Error); errors.As(err, &around) {
		err = around.Err // what was asked for is of weirctl's making
	}
	var silent *silentError
	switch {
	case errors.As(err, &silent):
		return silent
	case unreachable(err):
		return fmt.Errorf("reach weir's admin interface at %s: %w\n"+
			"Is weir running? Say where its admin interface is with --admin ADDR, --admin unix:PATH or -c FILE", address, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("ask weir at %s: it answers other questions, but has not finished this one in time: %w", address, err)
	}
	return fmt.Errorf("ask weir at %s: %w", address, err)
}

// adminAddress reads where a bootstrap configuration has its admin interface.
func adminAddress(path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	b, _, err := bootstrap.Load(bootstrap.Options{Path: path, AllowUnknownStatic: true})
	if err != nil {
		return "", err
	}
	switch at := b.GetAdmin().GetAddress().GetAddress().(type) {
	case *corev3.Address_Pipe:
		return "unix:" + at.Pipe.GetPath(), nil
	case *corev3.Address_SocketAddress:
		host, port := at.SocketAddress.GetAddress(), at.SocketAddress.GetPortValue()
		if port == 0 {
			return "", fmt.Errorf("%s: admin.address has port 0: give the actual address with --admin (weir --admin-address-path writes it)", path)
		}
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			if host = "127.0.0.1"; ip.Is6() {
				host = "::1"
			}
		}
		return net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10)), nil
	}
	return "", fmt.Errorf("%s has no admin.address: give it with --admin", path)
}
