import { start } from '../shell';
import { ChatPage } from './ChatPage';
import './chat.css';

start({ name: 'chat', Page: ChatPage });
