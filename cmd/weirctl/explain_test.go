package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExplainArguments(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		want    string // the parameters
		wantErr string
	}{
		{name: "address", args: []string{"10.0.0.1:80"}, want: "dst=10.0.0.1:80"},
		{name: "name", args: []string{"localhost:8080"}, want: "dst=127.0.0.1:8080&host=localhost:8080"},
		{name: "usual port", args: []string{"localhost:443"}, want: "dst=127.0.0.1:443&host=localhost"},
		{name: "URL", args: []string{"http://localhost/x?y"}, want: "dst=127.0.0.1:80&host=localhost&path=/x?y"},
		{name: "URL with port", args: []string{"http://10.0.0.1:81"}, want: "dst=10.0.0.1:81&host=10.0.0.1:81&path=/"},
		{name: "secure URL", args: []string{"https://localhost/"}, want: "dst=127.0.0.1:443&host=localhost&path=/&sni=localhost&tls=true"},
		{name: "secure URL of an address", args: []string{"https://[fd00::1]/"}, want: "dst=[fd00::1]:443&host=[fd00::1]&path=/&tls=true"},
		{name: "options", args: []string{
			"--host=a", "--path", "/b", "--method", "PUT", "--header", "c:d", "--header=e: f=g", "--sni", "h", "--alpn", "h2",
			"--src", "10.0.0.2", "--pid", "7", "--assume-captured", "--json", "https://localhost/x",
		}, want: "alpn=h2&assume_captured=true&dst=127.0.0.1:443&format=json&header=c:d&header=e: f=g&host=a&method=PUT&path=/b&pid=7&sni=h&src=10.0.0.2&tls=true"},
		{name: "nothing", wantErr: "DST is missing"},
		{name: "source", args: []string{"pid:12", "10.0.0.1:80"}, want: "dst=10.0.0.1:80&from=pid:12"},
		{name: "source of a datagram", args: []string{"curl", "udp:10.0.0.1:53"}, want: "dst=10.0.0.1:53&from=curl&udp=true"},
		{name: "two sources", args: []string{"pid:12", "--pid=7", "10.0.0.1:80"}, wantErr: "from: it says who calls"},
		{name: "three", args: []string{"a:1", "b:1", "c:1"}, wantErr: `unexpected argument "c:1"`},
		{name: "unknown", args: []string{"--what", "x", "a:1"}, wantErr: "unknown option --what"},
		{name: "no value", args: []string{"a:1", "--host"}, wantErr: "--host needs a value"},
		{name: "value of a flag", args: []string{"a:1", "--tls=1"}, wantErr: "--tls has no value"},
		{name: "two places", args: []string{"a:1", "--admin", "x", "-c", "y"}, wantErr: "give one"},
		{name: "no port", args: []string{"10.0.0.1"}, wantErr: "neither IP:PORT"},
		{name: "no number", args: []string{"10.0.0.1:http"}, wantErr: `"http" is no port`},
		{name: "scheme", args: []string{"ftp://localhost/"}, wantErr: "neither http nor https"},
		{name: "checked here", args: []string{"10.0.0.1:80", "--pid", "x"}, wantErr: "pid: "},
		{name: "unresolved", args: []string{"nothing.invalid:80"}, wantErr: "--host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var notes bytes.Buffer
			a, err := parseExplain(tt.args)
			if err == nil {
				err = a.resolve(t.Context(), &notes)
			}
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error = %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, _ := url.QueryUnescape(a.params.Encode())
			if strings.ReplaceAll(got, "[::1]", "127.0.0.1") != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// fakeAdmin answers as the daemon does.
func fakeAdmin(t *testing.T, l net.Listener) {
	t.Helper()
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/weir/explain" || r.URL.Query().Get("cgroup") == "/gone" {
			http.Error(w, "find cgroup: /gone is not there", http.StatusBadRequest)
			return
		}
		w.Write([]byte("asked of " + r.URL.Query().Get("dst") + "\n"))
	})}}
	s.Start()
	t.Cleanup(s.Close)
}

func TestExplainAsks(t *testing.T) {
	dir := t.TempDir()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fakeAdmin(t, tcp)
	socket := filepath.Join(dir, "admin.sock")
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	fakeAdmin(t, unix)
	_, port, _ := net.SplitHostPort(tcp.Addr().String())
	file := func(name, admin string) string {
		path := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(path, []byte(admin), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	any4 := file("any", "admin: {address: {socket_address: {address: 0.0.0.0, port_value: "+port+"}}}")
	pipe := file("pipe", "admin: {address: {pipe: {path: "+socket+"}}}")
	zero := file("zero", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}")
	none := file("none", "node: {id: x}")
	tests := []struct {
		name    string
		args    []string
		wantErr string
	}{
		{name: "address", args: []string{"--admin", tcp.Addr().String()}},
		{name: "socket", args: []string{"--admin", "unix:" + socket}},
		{name: "file", args: []string{"-c", any4}},
		{name: "file with a socket", args: []string{"-c", pipe}},
		{name: "port 0", args: []string{"-c", zero}, wantErr: "--admin-address-path"},
		{name: "no admin", args: []string{"-c", none}, wantErr: "no admin.address"},
		{name: "no file", args: []string{"-c", filepath.Join(dir, "missing")}, wantErr: "read configuration"},
		{name: "nobody there", args: []string{"--admin", "unix:" + filepath.Join(dir, "nobody")}, wantErr: "Is weir running?"},
		{name: "refused", args: []string{"--admin", tcp.Addr().String(), "--cgroup", "/gone"}, wantErr: "400 Bad Request: find cgroup: /gone is not there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			status := runExplain(t.Context(), append(tt.args, "10.0.0.1:80"), stdio{out: &out, err: &errs})
			if tt.wantErr != "" {
				if status != exitError || !strings.Contains(errs.String(), tt.wantErr) {
					t.Errorf("status %d, errors %q, want %q", status, errs.String(), tt.wantErr)
				}
				return
			}
			if status != exitOK || out.String() != "asked of 10.0.0.1:80\n" {
				t.Errorf("status %d, output %q, errors %q", status, out.String(), errs.String())
			}
		})
	}
}

func TestExplainHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if status := runExplain(t.Context(), []string{"--help"}, stdio{out: &out, err: &errs}); status != exitOK || out.String() != explainHelp {
		t.Errorf("status %d, output %q", status, out.String())
	}
	if status := runExplain(t.Context(), nil, stdio{out: &out, err: &errs}); status != exitUsage || !strings.Contains(errs.String(), "usage: ") {
		t.Errorf("status %d, errors %q", status, errs.String())
	}
}
