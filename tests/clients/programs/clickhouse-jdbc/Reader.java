import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/** What DBeaver and Metabase do: connect with the driver's defaults, list tables and columns, query, read an error. */
public class Reader {
    public static void main(String[] arguments) throws Exception {
        Properties user = new Properties();
        user.setProperty("user", arguments[1]);
        user.setProperty("password", arguments[2]);
        for (int at = 4; at < arguments.length; at += 2) {
            user.setProperty(arguments[at], arguments[at + 1]);
        }
        try (Connection connection = DriverManager.getConnection("jdbc:clickhouse:" + arguments[0], user)) {
            DatabaseMetaData meta = connection.getMetaData();
            List<String> tables = new ArrayList<>();
            try (ResultSet found = meta.getTables(null, "axonpush", "%", new String[] {"TABLE", "VIEW"})) {
                while (found.next()) {
                    tables.add(found.getString("TABLE_NAME"));
                }
            }
            List<String> columns = new ArrayList<>();
            try (ResultSet found = meta.getColumns(null, "axonpush", "otel_traces", "%")) {
                while (found.next()) {
                    columns.add(found.getString("COLUMN_NAME"));
                }
            }
            int types = 0;
            try (ResultSet found = meta.getTypeInfo()) {
                while (found.next()) {
                    types++;
                }
            }
            System.out.println("{\"types\": " + types + ", \"tables\": " + json(tables) + ", \"columns\": " + json(columns)
                + ", \"names\": " + json(names(connection, arguments[3])) + ", \"rows\": " + rows(connection)
                + ", \"length\": " + longStatement(connection) + ", \"error\": " + json(List.of(error(connection))) + "}");
        }
    }

    private static List<String> names(Connection connection, String trace) throws SQLException {
        List<String> names = new ArrayList<>();
        String sql = "SELECT SpanName FROM otel_traces WHERE TraceId = ? ORDER BY Timestamp";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setString(1, trace);
            try (ResultSet found = statement.executeQuery()) {
                while (found.next()) {
                    names.add(found.getString(1));
                }
            }
        }
        return names;
    }

    /** An answer of many blocks. */
    private static long rows(Connection connection) throws SQLException {
        long rows = 0;
        try (Statement statement = connection.createStatement();
                ResultSet found = statement.executeQuery("SELECT number, toString(number) FROM numbers(300000)")) {
            while (found.next()) {
                if (found.getLong(1) != rows || !found.getString(2).equals(Long.toString(rows))) {
                    throw new IllegalStateException("row " + rows);
                }
                rows++;
            }
        }
        return rows;
    }

    /** A statement of 50 kB. */
    private static long longStatement(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet found = statement.executeQuery("SELECT length(concat('" + "x".repeat(50000) + "'))")) {
            found.next();
            return found.getLong(1);
        }
    }

    private static String error(Connection connection) {
        try (Statement statement = connection.createStatement()) {
            statement.executeQuery("SELECT no_such_column FROM otel_traces");
            return "";
        } catch (SQLException error) {
            return error.getErrorCode() + " " + error.getMessage();
        }
    }

    private static String json(List<String> texts) {
        List<String> quoted = new ArrayList<>();
        for (String text : texts) {
            quoted.add('"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", " ") + '"');
        }
        return quoted.toString();
    }
}
