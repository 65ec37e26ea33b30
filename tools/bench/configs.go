package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Each proxy runs one worker, keeps connections alive on both sides, and adds what proxies usually add: x-forwarded-for,
// x-forwarded-proto and a request id.

// files are what a process needs in its directory, by name.
type files map[string]string

// setup makes the files and the arguments of a process in dir.
type setup func(dir string, port int, s shape) (files, []string)

// idleLimit bounds connections: more than the scenarios open, and twice as many descriptors fit below the usual hard limit.
const idleLimit = 9500

func nginxHead(dir string) string {
	return fmt.Sprintf("daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid %[1]s/pid; error_log %[1]s/error.log;\n"+
		"events { worker_connections %[2]d; }\n", dir, idleLimit)
}

func nginxArgs(dir string) []string {
	return []string{"-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log")}
}

// webBackend answers with 1 KB, and with 10 MB at /bulk.
func webBackend(dir string, port int, _ shape) (files, []string) {
	text := nginxHead(dir) + fmt.Sprintf(`http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type text/plain; sendfile on; tcp_nopush on;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen 127.0.0.1:%[2]d backlog=4096;
    location / { return 200 "%[3]s"; }
    location = /bulk { alias %[1]s/bulk.bin; }
  }
}
`, dir, port, strings.Repeat("x", 1024))
	return files{"nginx.conf": text, "bulk.bin": strings.Repeat("0123456789abcdef", bulkSize/16)}, nginxArgs(dir)
}

// grpcBackend is this program again.
func grpcBackend(_ string, port int, _ shape) (files, []string) {
	return nil, []string{"-grpc-backend", fmt.Sprint(port)}
}

func nginxSetup(dir string, port int, s shape) (files, []string) {
	listen, log := fmt.Sprintf("listen 127.0.0.1:%d backlog=4096", port), "access_log off;"
	out := files{}
	if s.http2 {
		listen += " http2"
	}
	if s.tls {
		listen += " ssl"
		out["cert.pem"], out["key.pem"] = certificate()
		log += fmt.Sprintf(" ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem; ssl_protocols TLSv1.3; ssl_ecdh_curve X25519; ssl_session_cache shared:a:1m;", dir)
	}
	if s.accessLog {
		log = strings.Replace(log, "access_log off;", fmt.Sprintf("access_log %s/access.log combined;", dir), 1)
	}
	pass := "{ proxy_pass http://backend; }"
	var servers strings.Builder
	if s.hosts == 0 {
		fmt.Fprintf(&servers, "  server { %s; location / %s }\n", listen, pass)
	}
	for h := range s.hosts {
		fmt.Fprintf(&servers, "  server { %s; server_name %s;\n", listen, hostName(h))
		listen = fmt.Sprintf("listen 127.0.0.1:%d", port) // options of a socket are said once
		for r := range s.routes {
			fmt.Fprintf(&servers, "    location %s %s\n", routePath(r), pass)
		}
		servers.WriteString("  }\n")
	}
	out["nginx.conf"] = nginxHead(dir) + fmt.Sprintf(`http {
  %[5]s keepalive_requests 1000000000; keepalive_timeout 600s; http2_max_concurrent_streams 128;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Request-ID $request_id;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_max_temp_file_size 0;
  upstream backend { server 127.0.0.1:%[2]d; keepalive 512; keepalive_requests 1000000000; }
%[4]s}
`, dir, backendPort, port, servers.String(), log)
	return out, nginxArgs(dir)
}

func haproxySetup(dir string, port int, s shape) (files, []string) {
	bind, server := fmt.Sprintf("bind 127.0.0.1:%d backlog 4096", port), fmt.Sprintf("server one 127.0.0.1:%d", backendPort)
	out, log, route := files{}, "", "default_backend out"
	if s.tls {
		cert, key := certificate()
		out["both.pem"] = cert + key
		bind += fmt.Sprintf(" ssl crt %s/both.pem ssl-min-ver TLSv1.3 curves X25519 no-tls-tickets", dir)
	}
	if s.http2 {
		bind += " proto h2"
	}
	if s.upHTTP2 {
		server += " proto h2"
	}
	if s.accessLog {
		log = "  log stdout format raw local0\n  option httplog\n"
	}
	if s.hosts > 0 {
		var table strings.Builder
		for h := range s.hosts {
			for r := range s.routes {
				fmt.Fprintf(&table, "%s%s out\n", hostName(h), routePath(r))
			}
		}
		out["routes.map"] = table.String()
		route = fmt.Sprintf("use_backend %%[base,map_beg(%s/routes.map)]", dir)
	}
	out["haproxy.cfg"] = fmt.Sprintf(`global
  nbthread 1
  maxconn %d
  tune.h2.max-concurrent-streams 128
defaults
  mode http
  maxconn %[1]d
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend in
  %s
%s  option forwardfor
  http-request set-header X-Forwarded-Proto http
  unique-id-format %%{+X}o-%%ci:%%cp-%%Ts-%%rt
  unique-id-header X-Request-ID
  %s
backend out
  %s
`, idleLimit, bind, log, route, server)
	return out, []string{"-f", filepath.Join(dir, "haproxy.cfg"), "-db"}
}

func hostName(i int) string  { return fmt.Sprintf("host%d.example", i) }
func routePath(i int) string { return fmt.Sprintf("/service%04d/", i) }

// writeFiles puts the files of a process in place.
func writeFiles(dir string, f files) error {
	for name, text := range f {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
