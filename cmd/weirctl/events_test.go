package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestEventsArguments(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		want    string // the parameters
		wantErr string
	}{
		{name: "none", want: "format=text"},
		{name: "all", args: []string{
			"--verdict", "refuse", "--verdict=pass", "--reason", "no_rule", "--pid", "7", "--container", "fade", "--cgroup", "a/*", "--dst", ":80",
			"--sample", "0.5", "-n", "3", "--past", "--json", "--direction", "inbound", "--protocol=udp", "--each-datagram",
		}, want: "cgroup=a/*&container=fade&direction=inbound&dst=:80&each_datagram=true&format=json&limit=3&past=true&pid=7&protocol=udp&reason=no_rule&sample=0.5&verdict=refuse&verdict=pass"},
		{name: "only the past", args: []string{"--no-follow", "--past"}, want: "format=text&no_follow=true&past=true"},
		{name: "nothing", args: []string{"--no-follow"}, wantErr: "--past prints; give both"},
		{name: "unknown", args: []string{"--what"}, wantErr: "unknown option --what"},
		{name: "argument", args: []string{"x"}, wantErr: `unexpected argument "x"`},
		{name: "no value", args: []string{"--pid"}, wantErr: "--pid needs a value"},
		{name: "value of a flag", args: []string{"--past=1"}, wantErr: "--past has no value"},
		{name: "two places", args: []string{"--admin", "x", "-c", "y"}, wantErr: "give one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := parseEvents(tt.args)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error = %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := url.QueryUnescape(a.params.Encode()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestEventsPrints(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("pid") == "0" {
			http.Error(w, "pid: \"0\" is not a process id", http.StatusBadRequest)
			return
		}
		for range 3 {
			w.Write([]byte(r.URL.Path + "\n"))
		}
	})}}
	s.Start()
	t.Cleanup(s.Close)
	var out, errs bytes.Buffer
	if status := runEvents(t.Context(), []string{"--admin", l.Addr().String()}, stdio{out: &out, err: &errs}); status != exitOK || out.String() != strings.Repeat("/weir/events\n", 3) {
		t.Errorf("status %d, output %q, errors %q", status, out.String(), errs.String())
	}
	if status := runEvents(t.Context(), []string{"--admin", l.Addr().String(), "--pid=0"}, stdio{out: &out, err: &errs}); status != exitError || !strings.Contains(errs.String(), "is not a process id") {
		t.Errorf("status %d, errors %q", status, errs.String())
	}
	out.Reset()
	if status := runEvents(t.Context(), []string{"--help"}, stdio{out: &out, err: &errs}); status != exitOK || !strings.HasPrefix(out.String(), "usage: weirctl events") {
		t.Errorf("status %d, output %q", status, out.String())
	}
}
