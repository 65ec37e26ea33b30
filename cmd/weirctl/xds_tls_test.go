package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issue makes a certificate that signs itself, writes it and its key, and returns it.
func issue(t *testing.T, dir, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestXDSReadsTLSFilesAgain(t *testing.T) {
	server, client, dir := t.TempDir(), t.TempDir(), t.TempDir()
	issue(t, server, "one.test")
	own := issue(t, client, "client.test")
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- runXDS(ctx, []string{
			"serve", "--listen", "127.0.0.1:0", "--tls-cert", filepath.Join(server, "cert.pem"), "--tls-key", filepath.Join(server, "key.pem"),
			"--client-ca", filepath.Join(client, "cert.pem"), dir,
		}, stdio{out: w, err: t.Output()})
		_ = w.Close() // never fails
	}()
	lines := bufio.NewScanner(r)
	if !lines.Scan() {
		t.Fatal("it does not serve")
	}
	addr := lines.Text()[strings.LastIndex(lines.Text(), " ")+1:]
	go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the server
	// name is that of the certificate that the server shows; err tells that it does not take the client's.
	name := func(certificates ...tls.Certificate) (string, error) {
		c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: certificates}}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return "", err
		}
		defer c.Close() // it was only to look
		conn, ok := c.(*tls.Conn)
		if !ok {
			t.Fatalf("dialled a %T", c)
		}
		// In TLS 1.3 the server's verdict on the client's certificate comes with the first read.
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
			return "", err
		}
		_, err = io.ReadFull(conn, make([]byte, 1))
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, err
	}
	if got, err := name(own); got != "one.test" || err != nil {
		t.Fatalf("the server shows %q, %v", got, err)
	}
	if _, err := name(); err == nil {
		t.Error("a client without a certificate is taken")
	}
	issue(t, server, "two.test")
	deadline := time.Now().Add(20 * time.Second)
	for {
		got, err := name(own)
		if err != nil {
			t.Fatal(err)
		}
		if got == "two.test" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is never shown")
		}
	}
	stop()
	if status := <-done; status != exitOK {
		t.Errorf("status %d", status)
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr); err == nil {
		t.Error("it still listens")
	}
}

func TestXDSRefusesTLSFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	issue(t, dir, "x")
	cert, key, junk := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ args, want string }{
		"no certificate":  {"--tls-cert " + junk + " --tls-key " + key, "load certificate"},
		"no key":          {"--tls-cert " + cert + " --tls-key " + dir + "/none", "no such file"},
		"no authority":    {"--tls-cert " + cert + " --tls-key " + key + " --client-ca " + junk, "holds no certificate"},
		"authority's not": {"--tls-cert " + cert + " --tls-key " + key + " --client-ca " + dir + "/none", "load client authorities"},
	} {
		t.Run(name, func(t *testing.T) {
			var errs strings.Builder
			args := append([]string{"serve", "--listen", "127.0.0.1:0", t.TempDir()}, strings.Fields(tt.args)...)
			if status := runXDS(t.Context(), args, stdio{out: io.Discard, err: &errs}); status != exitError || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("status %d, errors %q", status, &errs)
			}
		})
	}
}
