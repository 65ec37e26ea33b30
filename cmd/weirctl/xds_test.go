package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func TestXDSArguments(t *testing.T) {
	tests := []struct {
		name, args, wantErr string
		want                xdsArguments
	}{
		{name: "plain", args: "serve --listen :1 d", want: xdsArguments{listen: []string{":1"}, dir: "d"}},
		{name: "joined", args: "serve d --listen=unix:/x", want: xdsArguments{listen: []string{"unix:/x"}, dir: "d"}},
		{name: "TLS", args: "serve --listen :1 --tls-cert c --tls-key k --tls-client-ca a d", want: xdsArguments{listen: []string{":1"}, dir: "d", cert: "c", key: "k", clientCA: "a"}},
		{
			name: "two listeners, quiet, a status page, for others than weir", args: "serve --listen :1 --quiet --listen :2 --status-listen :3 --check=api d",
			want: xdsArguments{listen: []string{":1", ":2"}, status: ":3", dir: "d", quiet: true, apiOnly: true},
		},
		{name: "groups by nothing known", args: "serve --listen :1 --group-by zone d", wantErr: "--group-by: group by"},
		{name: "checked for nothing known", args: "serve --listen :1 --check envoy d", wantErr: "--check envoy: it is weir or api"},
		{name: "nothing", wantErr: "the command is: serve"},
		{name: "no directory", args: "serve --listen :1", wantErr: "DIR is missing"},
		{name: "no address", args: "serve d", wantErr: "--listen is missing"},
		{name: "no value", args: "serve d --listen", wantErr: "--listen needs a value"},
		{name: "nearly an option", args: "serve --lisen :1 d", wantErr: "unknown option --lisen; did you mean --listen?"},
		{name: "unknown option", args: "serve --bind :1 d", wantErr: "unknown option --bind"},
		{name: "two directories", args: "serve --listen :1 d e", wantErr: `unexpected argument "e"`},
		{name: "certificate without key", args: "serve --listen :1 --tls-cert c d", wantErr: "go together"},
		{name: "client authority without TLS", args: "serve --listen :1 --tls-client-ca c d", wantErr: "--client-ca needs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseXDS(strings.Fields(tt.args))
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error = %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestXDSHelp(t *testing.T) {
	var out bytes.Buffer
	if status := runXDS(t.Context(), []string{"serve", "--help"}, stdio{out: &out, err: io.Discard}); status != exitOK || out.String() != xdsHelp {
		t.Errorf("status %d, output %q", status, out.String())
	}
}

func TestXDSRefusesABrokenDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("\nnonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	status := runXDS(t.Context(), []string{"serve", "--listen", "127.0.0.1:0", dir}, stdio{out: io.Discard, err: &errs})
	if status != exitError || !strings.Contains(errs.String(), "a.yaml:2:1") {
		t.Errorf("status %d, errors %q", status, errs.String())
	}
}

func TestXDSServesAndPrintsLines(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\nname: one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	r, w := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- runXDS(ctx, []string{"serve", "--listen", "unix:" + socket, dir}, stdio{out: w, err: t.Output()})
		_ = w.Close() // never fails
	}()
	lines := bufio.NewScanner(r)
	expect := func(parts ...string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("the output ended")
		}
		for _, p := range parts {
			if !strings.Contains(lines.Text(), p) {
				t.Fatalf("line %q lacks %q", lines.Text(), p)
			}
		}
	}
	expect("serving " + dir + " at " + socket)
	expect("Cluster", "one")

	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // it is ended from the other side
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send := func(q *discoveryv3.DiscoveryRequest) {
		t.Helper()
		q.TypeUrl = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
		if err := stream.Send(q); err != nil {
			t.Fatal(err)
		}
	}
	send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "n1"}})
	expect("node=n1", "connected (ADS, state of the world)")
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	send(&discoveryv3.DiscoveryRequest{ResponseNonce: answer.Nonce, ErrorDetail: &statuspb.Status{Message: "bad\nvery"}})
	expect("node=n1", "NACK Cluster "+answer.VersionInfo+" [one]: bad; very")
	stop()
	expect("node=n1", "disconnected")
	if status := <-done; status != exitOK {
		t.Errorf("status = %d", status)
	}
}
