// Says which host a request was for, and which name a TLS client asked for.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

func main() {
	plain, _ := net.Listen("tcp", "127.0.0.1:0")
	secret, _ := net.Listen("tcp", "127.0.0.1:0")
	go http.Serve(plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "served %s\n", r.Host)
	}))
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	certificate := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	config := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		hello.Conn.Write([]byte("served " + hello.ServerName + "\n"))
		return certificate, nil
	}}
	fmt.Println("listening", plain.Addr().(*net.TCPAddr).Port, secret.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := secret.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(2 * time.Second))
			tls.Server(conn, config).Handshake()
		}()
	}
}
