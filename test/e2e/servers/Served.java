import com.sun.net.httpserver.HttpServer;
import java.io.OutputStream;
import java.net.InetSocketAddress;

/** Says which host a request was for, whatever its method. */
public class Served {
  public static void main(String[] args) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
    server.createContext("/", exchange -> {
      exchange.getRequestBody().readAllBytes();
      byte[] text = ("served " + exchange.getRequestHeaders().getFirst("Host") + "\n").getBytes();
      exchange.sendResponseHeaders(200, text.length);
      try (OutputStream body = exchange.getResponseBody()) {
        body.write(text);
      }
    });
    server.start();
    System.out.println("listening " + server.getAddress().getPort());
  }
}
