import './notifications.css';
import { start } from '../shell';
import { NotificationsPage } from './NotificationsPage';
import { Around, Tools } from './Around';

start({ name: 'notifications', Page: NotificationsPage, Around, Tools });
