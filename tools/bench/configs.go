package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// The proxies run one worker each, keep connections alive on both sides and write no access log.

func nginxHead(dir string) string {
	return fmt.Sprintf("daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log; events { worker_connections 1024; }\n", dir)
}

func nginxArgs(dir string) []string {
	return []string{"-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log")}
}

func backendConfig(dir string, port int) (file, text string, args []string) {
	text = nginxHead(dir) + fmt.Sprintf(`http {
  access_log off; keepalive_requests 1000000000; default_type text/plain;
  server { listen 127.0.0.1:%d; location / { return 200 "%s"; } }
}
`, port, strings.Repeat("x", 1024))
	return "nginx.conf", text, nginxArgs(dir)
}

func nginxConfig(dir string, port int) (file, text string, args []string) {
	text = nginxHead(dir) + fmt.Sprintf(`http {
  access_log off; keepalive_requests 1000000000;
  upstream backend { server 127.0.0.1:%d; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:%d;
    location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`, backendPort, port)
	return "nginx.conf", text, nginxArgs(dir)
}

func haproxyConfig(dir string, port int) (file, text string, args []string) {
	text = fmt.Sprintf(`global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:%d
  default_backend out
backend out
  server one 127.0.0.1:%d
`, port, backendPort)
	return "haproxy.cfg", text, []string{"-f", filepath.Join(dir, "haproxy.cfg"), "-db"}
}

func weirConfig(dir string, port int) (file, text string, args []string) {
	text = fmt.Sprintf(`static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            name: all
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route: {cluster: backend}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: backend
    connect_timeout: 1s
    type: STATIC
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
`, port, backendPort)
	return "weir.yaml", text, []string{"-c", filepath.Join(dir, "weir.yaml"), "--concurrency", "1", "-l", "warning"}
}
