package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// tlsFiles are the files of the server's TLS, which may change while it runs.
type tlsFiles struct {
	cert, key, clientCA string
	log                 *slog.Logger

	mu      sync.Mutex
	config  *tls.Config
	read    [3]time.Time // when the files had been written that were read last
	checked time.Time
}

// recheck is how often the files are looked at, at most.
const recheck = time.Second

// tls is the server's TLS configuration; nil is plain text.
func (a xdsArguments) tls(log *slog.Logger) (*tls.Config, error) {
	if a.cert == "" {
		return nil, nil
	}
	f := &tlsFiles{cert: a.cert, key: a.key, clientCA: a.clientCA, log: log}
	var err error
	f.read = f.written()
	if f.config, err = f.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.current(), nil },
	}, nil
}

// current is what the files say, or said when they were last good.
func (f *tlsFiles) current() *tls.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.checked) < recheck {
		return f.config
	}
	f.checked = time.Now()
	now := f.written()
	if now == f.read {
		return f.config
	}
	f.read = now
	config, err := f.load()
	if err != nil {
		f.log.Error("keeping the TLS files that were read before", "error", err)
		return f.config
	}
	f.config = config
	f.log.Info("the TLS files were read again", "certificate", f.cert)
	return f.config
}

// written is when each of the files was written; zero for one that is not there.
func (f *tlsFiles) written() (out [3]time.Time) {
	for i, path := range []string{f.cert, f.key, f.clientCA} {
		if info, err := os.Stat(path); path != "" && err == nil {
			out[i] = info.ModTime()
		}
	}
	return out
}

func (f *tlsFiles) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if f.clientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(f.clientCA)
	if err != nil {
		return nil, fmt.Errorf("load client authorities: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load client authorities: %s holds no certificate", f.clientCA)
	}
	return config, nil
}
