import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * A small shop that knows nothing of telemetry: OpenTelemetry's agent watches it be asked, ask another service, log and
 * stop. Argument: the id of a trace of its caller.
 */
public final class Shop {
  private static final Logger LOGGER = Logger.getLogger("shop.orders");
  private static final String CALLER = "c3".repeat(8);

  private static void answer(HttpExchange exchange, int status, String text) throws IOException {
    byte[] body = text.getBytes(StandardCharsets.UTF_8);
    exchange.sendResponseHeaders(status, body.length);
    exchange.getResponseBody().write(body);
    exchange.close();
  }

  /** Asks the stock and fails to pay, which it logs. */
  private static void order(HttpExchange exchange) throws IOException {
    URI stock = URI.create("http:/" + exchange.getLocalAddress() + "/stock");
    try {
      HttpClient.newHttpClient().send(HttpRequest.newBuilder(stock).build(), HttpResponse.BodyHandlers.ofString());
      throw new IllegalStateException("no payment of 3");
    } catch (InterruptedException | IllegalStateException refused) {
      LOGGER.log(Level.SEVERE, "order 41 is late", refused);
      answer(exchange, 502, "refused");
    }
  }

  /** The status of a request of a caller that is itself part of a trace. By hand: the agent watches HTTP clients. */
  private static String ask(int port, String traceId) throws IOException {
    String request = "GET /orders HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        + "traceparent: 00-" + traceId + "-" + CALLER + "-01\r\n\r\n";
    try (Socket connection = new Socket("127.0.0.1", port)) {
      connection.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
      return new String(connection.getInputStream().readAllBytes(), StandardCharsets.UTF_8).split(" ")[1];
    }
  }

  public static void main(String[] arguments) throws IOException {
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
    var threads = Executors.newFixedThreadPool(4);
    server.setExecutor(threads);
    server.createContext("/orders", Shop::order);
    server.createContext("/stock", exchange -> answer(exchange, 200, "3"));
    server.start();
    String status = ask(server.getAddress().getPort(), arguments[0]);
    server.stop(0);
    threads.shutdown();
    System.out.println("{\"status\": " + status + ", \"caller\": \"" + CALLER + "\"}");
  }
}
